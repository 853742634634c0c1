package backend

import "net/http"

// The Close of a session in a drain. The code is "going away" of RFC 6455 §7.4.1.
const (
	goingAway = 1001
	reason    = "server is going away"
)

// session is a session that has joined.
type session struct {
	slot   *slot
	close  func(code int, reason string)
	closed bool // close was called
}

// Join registers the session that the handshake r has opened, together with a
// function that closes it by sending a Close frame with the given code and
// reason. A handler must call Join once, as soon as the session is open, and call
// leave when the session has ended for whatever reason:
//
//	leave := kit.Join(r, func(code int, reason string) { ... })
//	defer leave()
//
// close is called at most once, in a drain, in a goroutine of its own. So it may
// block. It may run while the handler reads and writes, or just after the session
// has ended, so the library must support that. close only starts the end of the
// session: the handler still owns the connection, reads until the client has
// answered, and closes it. A close function that waits for the client's answer
// works as well. If Join is called when sessions are already being closed, close
// is called at once.
//
// leave never blocks, and further calls do nothing. A drain waits until it is
// called; if it never is, the session stays counted forever. Join doesn't keep r.
//
// A session whose handler doesn't call Join is counted until the handler returns.
// A drain can't close it, only wait for it.
func (b *Backend) Join(r *http.Request, close func(code int, reason string)) (leave func()) {
	_, leave = b.join(b.slotOf(r), close)
	return leave
}

// join adds a session. It shares the slot of its handshake, if that is still
// held.
func (b *Backend) join(handshake *slot, close func(code int, reason string)) (s *session, leave func()) {
	if close == nil {
		panic("backend: Join needs a function that closes the session")
	}
	s = &session{slot: handshake, close: close}
	b.mu.Lock()
	defer b.mu.Unlock()
	if handshake != nil && handshake.holders > 0 {
		handshake.holders++
	} else { // not served by Handler, or the handler has returned
		s.slot = newSlot(&b.slots)
	}
	b.sessions[s] = struct{}{}
	if b.phase == closing {
		b.closeSession(s, goingAway, reason)
	}
	return s, func() { b.leave(s) }
}

// closeSession calls the session's close function, unless the session has left
// or is already being closed. It requires b.mu.
func (b *Backend) closeSession(s *session, code int, reason string) {
	if _, joined := b.sessions[s]; joined && !s.closed {
		s.closed = true
		go s.close(code, reason)
	}
}

// closeMoved closes a session that moves to another server.
func (b *Backend) closeMoved(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeSession(s, serviceRestart, reasonMoved)
}

func (b *Backend) leave(s *session) {
	b.mu.Lock()
	_, joined := b.sessions[s]
	delete(b.sessions, s)
	b.mu.Unlock()
	if joined {
		b.releaseSlot(s.slot)
	}
}
