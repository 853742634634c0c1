package relay

import (
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// Filter chooses sessions of a list: those that match all fields that are set. It is
// asked on the event loops, so that sessions which are not wanted cost almost nothing.
type Filter struct {
	// Backends, Routes and IDs have those that are wanted; nil means all.
	Backends map[uint32]bool
	Routes   map[uint32]bool
	IDs      map[session.ID]bool
	// Clients are their networks, Port the port of their addresses; the zero values mean
	// all.
	Clients netip.Prefix
	Port    uint16
	// After and UpTo bound when the sessions began: after After, and not after UpTo. The
	// zero time is no bound.
	After, UpTo time.Time
	// Idle is how long no side must have sent a message.
	Idle time.Duration
}

// includes reports whether a session is wanted. f may be nil.
func (f *Filter) includes(r *record, now eventloop.Tick) bool {
	switch {
	case f == nil:
		return true
	case f.Backends != nil && !f.Backends[r.backend],
		f.Routes != nil && !f.Routes[r.route],
		f.Port != 0 && f.Port != r.port,
		f.Clients.IsValid() && !f.Clients.Contains(netip.AddrFrom16(r.ip).Unmap()),
		!f.After.IsZero() && r.started <= f.After.UnixNano(),
		!f.UpTo.IsZero() && r.started > f.UpTo.UnixNano(),
		f.Idle > 0 && r.idleFor(now) < f.Idle:
		return false
	}
	return f.IDs == nil || f.IDs[r.id]
}

// idleFor is how long no side has sent a message, or at layer 4 any byte. It is a
// multiple of 67 ms.
func (r *record) idleFor(now eventloop.Tick) time.Duration {
	if now < r.lastProgress { // the loop has read the clock a moment before
		return 0
	}
	return (now - r.lastProgress).Duration()
}
