package pool

import (
	"math"
	"time"
)

// FullShare is the Share of a backend that gets its whole weight.
const FullShare = 1024

// Share is the part of its weight that the backend gets now, from 1 to FullShare.
// It is lower during a slow start, and by the load that the backend reports.
func (b *Backend) Share() uint32 {
	share := FullShare - int64(b.loadReduction.Load())
	if from := b.slowStartFrom.Load(); from != 0 {
		elapsed, ramp := b.registry.clock.Now().UnixNano()-from, b.slowStart.Load()
		switch {
		case elapsed < 0:
			// It is ejected until then. If it is used anyway, since few
			// others are left, it gets its full share.
		case elapsed >= ramp:
			b.slowStartFrom.CompareAndSwap(from, 0)
		default:
			// In thousandths, so that the product fits into 63 bits.
			share = share * (elapsed / 1000) / (ramp/1000 + 1)
		}
	}
	return uint32(max(share, 1))
}

// UpSince is when the backend last joined a pool that had others, came up, or
// returned from an ejection: since then it may be cold. During an ejection it is
// the time in the future when that ends. The zero time means never.
func (b *Backend) UpSince() time.Time {
	if at := b.upSince.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// SetLoad sets the part of its weight that the backend can carry now by its own
// report, from 0 to 1. NaN is ignored.
func (b *Backend) SetLoad(capacity float64) {
	if math.IsNaN(capacity) {
		return
	}
	capacity = min(max(capacity, 0), 1)
	b.loadReduction.Store(FullShare - int32(capacity*FullShare))
}

// markUp records that the backend comes up at the given time, and starts
// its slow start if the pool has one. mu must be held.
func (b *Backend) markUp(from time.Time) {
	b.upSince.Store(from.UnixNano())
	if b.slowStart.Load() > 0 {
		b.slowStartFrom.Store(from.UnixNano())
	}
}
