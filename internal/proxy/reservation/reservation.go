// Package reservation reserves a backend for a session that is to be moved, in
// a pool whose backends get handshakes at a limited rate. The spine
// (internal/proxy) and the simulation (internal/tool/simulate) call it. It
// doesn't wait: the caller does, for as long as the reservation says.
package reservation

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/retry"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
)

// ErrTooLate means that no backend gets another handshake in time.
var ErrTooLate = failure.New(failure.WaitedTooLong, "no backend takes another handshake in time")

// Reservation is a lease on a backend, and one of its tokens. It must be
// redeemed or cancelled.
type Reservation struct {
	Choice balance.Choice
	Wait   time.Duration // from Make until the handshake may be sent
	bucket *ratelimit.Bucket
}

// Make reserves the first backend that choose returns and whose next token comes
// within the given time. choose takes a lease, as balance.Picker.Take does, on a
// member that is not in tried; bucket is that of a member. Make adds to tried the
// members whose tokens come too late. It asks retry.MaxBackends at most. The
// error is ErrTooLate, or that of choose if no token was too late.
func Make(within time.Duration, tried *balance.Tried, choose func(balance.Tried) (balance.Choice, error), bucket func(member int) *ratelimit.Bucket) (*Reservation, error) {
	var tooLate error
	for range retry.MaxBackends {
		c, err := choose(*tried)
		if err != nil {
			if tooLate != nil {
				return nil, tooLate
			}
			return nil, err
		}
		b := bucket(c.Index)
		if wait, ok := b.Reserve(within); ok {
			return &Reservation{Choice: c, Wait: wait, bucket: b}, nil
		}
		c.Backend.Release()
		tried.Add(c.Index)
		tooLate = ErrTooLate
	}
	return nil, tooLate
}

// Redeem exchanges the reservation for a lease on the same backend, as one of
// the members of p, which may have changed since Make. member is its index there,
// -1 if it has none. If the backend can't be taken any more, Redeem cancels the
// reservation and reports false.
func (r *Reservation) Redeem(p balance.Picker, member int) (balance.Choice, bool) {
	r.Choice.Backend.Release() // before it is taken again, or it might be full
	if member >= 0 && !r.Choice.Backend.IsDraining() {
		if c, ok := p.TakeMember(member); ok {
			return c, true
		}
	}
	r.bucket.CancelReservation()
	return balance.Choice{}, false
}

// Cancel releases the lease and gives the token back.
func (r *Reservation) Cancel() {
	r.Choice.Backend.Release()
	r.bucket.CancelReservation()
}
