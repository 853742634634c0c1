package backend

import (
	"context"
	"net/http"
)

// What a session is closed with in a drain: RFC 6455 §7.4.1, "an endpoint is
// going away, such as a server going down".
const (
	goingAway = 1001
	reason    = "server is going away"
)

// session is one that Join was called for.
type session struct {
	place *place
	close func(code int, reason string)
	told  bool // close was called
}

// place is what a session, or a handshake under way, takes of MaxSessions. Its
// fields are guarded by Backend.mu.
type place struct {
	of      *int // the count that it is in: Backend's taken or checks
	holders int  // the running handler, and the sessions that joined; the last gives it back
}

// take counts a place with one holder. b.mu is held.
func take(of *int) *place {
	*of++
	return &place{of: of, holders: 1}
}

// placeKey is the key of the place in the context of a request that has been
// through b's Handler.
type placeKey struct{ b *Backend }

func (b *Backend) withPlace(r *http.Request, p *place) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), placeKey{b}, p))
}

func (b *Backend) placeOf(r *http.Request) *place {
	p, _ := r.Context().Value(placeKey{b}).(*place)
	return p
}

// Join tells that the handshake r has become a session, and how to close it:
// close sends a Close frame with the code and the reason. A handler calls Join
// once, as soon as the session is open, and leave when it has ended, whoever
// ended it:
//
//	leave := kit.Join(r, func(code int, reason string) { ... })
//	defer leave()
//
// close is called at most once, when a drain's turn comes to this session, by
// a goroutine of its own. So it may block; it may run at the same time as the
// handler reads and writes, and find that the session has ended just now, which
// libraries put up with. It only starts the end: the handler still owns the
// connection, reads until the client has answered, and closes it. A library
// whose close awaits the answer itself will do as well. A session that joins
// when others are being closed already is closed at once.
//
// leave never blocks, and may be called more than once. A drain waits for it:
// a handler that returns without it leaves the session counted for good. r is
// not kept.
//
// A session whose handler doesn't call Join is counted until that returns, but
// a drain can only wait for it, and cut it in the end.
func (b *Backend) Join(r *http.Request, close func(code int, reason string)) (leave func()) {
	if close == nil {
		panic("backend: Join needs a function that closes the session")
	}
	s := &session{close: close}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.place = b.placeOf(r); s.place != nil && s.place.holders > 0 {
		s.place.holders++
	} else { // not through Handler, or after it has returned
		s.place = take(&b.taken)
	}
	b.sessions[s] = struct{}{}
	if b.phase == closing {
		b.tell(s)
	}
	return func() { b.leave(s) }
}

// tell has the session closed, unless that was done before. b.mu is held.
func (b *Backend) tell(s *session) {
	if _, here := b.sessions[s]; here && !s.told {
		s.told = true
		go s.close(goingAway, reason)
	}
}

func (b *Backend) leave(s *session) {
	b.mu.Lock()
	_, here := b.sessions[s]
	delete(b.sessions, s)
	b.mu.Unlock()
	if here {
		b.leavePlace(s.place)
	}
}

func (b *Backend) leavePlace(p *place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.holders--; p.holders == 0 {
		*p.of--
		b.change()
	}
}

// change has Drain look again.
func (b *Backend) change() {
	select {
	case b.changed <- struct{}{}:
	default: // it is about to
	}
}
