package reattach

import (
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/reservation"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// reserved is a reservation, and when its handshake may be sent.
type reserved struct {
	*reservation.Reservation
	at time.Time
}

// reservations are those of the sessions that wait to be moved, in pools with
// admit.
type reservations struct {
	mu  sync.Mutex // guards the following
	all map[session.ID]*reserved
}

func (rs *reservations) put(id session.ID, r *reserved) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.all == nil {
		rs.all = map[session.ID]*reserved{}
	}
	rs.all[id] = r
}

// find returns nil for a session that has none.
func (rs *reservations) find(id session.ID) *reserved {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.all[id]
}

// take is find, and gives the reservation to the caller.
func (rs *reservations) take(id session.ID) *reserved {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.all[id]
	if delete(rs.all, id); len(rs.all) == 0 {
		rs.all = nil // a map never releases memory by itself
	}
	return r
}

// Reserve implements relay.Reattacher. In a pool with admit a move waits as a
// handshake does, since it is one to the backend. When its turn comes is known
// from the beginning, so a session whose turn would come too late is refused at
// once.
func (r *Reattacher) Reserve(m relay.ReattachRequest) (_ time.Duration, err error) {
	res := r.reservations.find(m.Info.ID)
	if res == nil {
		if res, err = r.reserve(m); res == nil {
			return 0, err
		}
		r.reservations.put(m.Info.ID, res)
	}
	return time.Until(res.at), nil
}

// reserve returns nil without an error if the move needs no reservation, and
// also if the session can't be moved at all: then Reattach will say so.
func (r *Reattacher) reserve(m relay.ReattachRequest) (res *reserved, err error) {
	h := r.handshakes.find(m.Info.ID)
	if h == nil {
		return nil, nil
	}
	if pool := r.Generation().Pools[h.pool]; pool == nil || pool.Admit == nil {
		return nil, nil
	}
	s := r.newSearch(h, m)
	defer func() {
		if p := recover(); p != nil {
			r.Log.Error("panic while a session waits to be moved; it is not", "panic", p, "stack", string(debug.Stack()))
			res, err = nil, errInternal
		}
		r.put(s)
	}()
	if err := s.prepare(); err != nil {
		return nil, err
	}
	return s.reserve()
}

// reserve reserves a backend whose turn comes in time.
func (s *search) reserve() (*reserved, error) {
	within := s.pool.Reattach.Timeout
	if s.request.Again {
		within = min(within, time.Until(s.request.Deadline))
	}
	r, err := reservation.Make(within, &s.tried, s.choose, s.pool.Bucket)
	switch {
	case errors.Is(err, reservation.ErrTooLate):
		return nil, relay.ErrMoveWaited
	case err != nil:
		return nil, s.mayPass(err)
	}
	return &reserved{r, time.Now().Add(r.Wait)}, nil
}

// takeReserved takes the backend that is reserved for the session, if that is
// still possible.
func (s *search) takeReserved() bool {
	r := s.r.reservations.take(s.request.Info.ID)
	if r == nil {
		return false
	}
	c, ok := r.Redeem(s.pool.Picker, s.pool.Member(r.Choice.Backend.ID))
	if ok {
		s.begin(c)
	}
	return ok
}
