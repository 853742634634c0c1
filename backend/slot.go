package backend

import (
	"context"
	"net/http"
)

// slot counts one session or handshake in progress towards MaxSessions.
// Backend.mu guards its fields.
type slot struct {
	counter *int // Backend.slots or Backend.checkSlots
	holders int  // the running handler, and the sessions that joined; the last one frees the slot
}

// newSlot requires Backend.mu. The slot has one holder.
func newSlot(counter *int) *slot {
	*counter++
	return &slot{counter: counter, holders: 1}
}

// slotKey is the context key of the slot of a request that b's Handler serves.
type slotKey struct{ b *Backend }

func (b *Backend) withSlot(r *http.Request, s *slot) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), slotKey{b}, s))
}

func (b *Backend) slotOf(r *http.Request) *slot {
	s, _ := r.Context().Value(slotKey{b}).(*slot)
	return s
}

// maxChecks limits the concurrent health checks that don't count as sessions.
// Without holdfast in front, any client can pretend to be one.
const maxChecks = 16

// acquireSlot returns a slot for the handshake r, or why there is none. The
// caller must release the slot.
func (b *Backend) acquireSlot(r *http.Request) (s *slot, refusal string) {
	check, reattached := isCheck(r), Reattach(r).Reattached()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wasChecked = b.wasChecked || check
	switch {
	case b.phase == closing, b.phase == notifying && (check || reattached):
		if check {
			b.reported503 = true
			b.signal()
		}
		return nil, "the server is draining"
	case check && b.checkSlots < maxChecks:
		// A check must succeed even if the server is full. The balancer would
		// take 503 for a drain and move all sessions away.
		return newSlot(&b.checkSlots), ""
	case b.maxSessions > 0 && b.slots >= b.maxSessions:
		return nil, "the server has reached its maximum number of sessions"
	}
	return newSlot(&b.slots), ""
}

// releaseSlot removes a holder from a slot.
func (b *Backend) releaseSlot(s *slot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.holders--; s.holders == 0 {
		*s.counter--
		b.signal()
	}
}

// signal wakes Drain.
func (b *Backend) signal() {
	select {
	case b.changed <- struct{}{}:
	default: // Drain is about to check anyway
	}
}
