package backend

import (
	"net/http"
	"strconv"
)

// Headers with which holdfast describes a session, see docs/reattach.md.
const (
	headerSession  = "Holdfast-Session"
	headerReattach = "Holdfast-Reattach"
	headerAttempt  = "Holdfast-Attempt"
	headerFrom     = "Holdfast-From"
	headerMove     = "Holdfast-Move"
)

// Why is the reason why a session comes from another server.
type Why string

const (
	// WhyNew means that the session is new.
	WhyNew Why = ""
	// WhyDrain means that the old server is draining. It still runs and may
	// change the session's state. So read the state only after the channel of
	// [Control.Begun] is closed.
	WhyDrain Why = "drain"
	// WhyLoss means that the old server is gone without a Close. Messages on
	// their way to it may be lost.
	WhyLoss Why = "loss"
	// WhyRebalance means that the old server had more than its share of
	// sessions. It is like WhyDrain, except that the old server keeps running.
	WhyRebalance Why = "rebalance"
)

// Session is what holdfast says about a session in its handshake.
type Session struct {
	// ID identifies the session for its whole life, on all servers and in
	// holdfast's log. It is empty if the handshake didn't come through
	// holdfast.
	ID string
	// Why is WhyNew, or the reason why the session comes from another server.
	// It may have a value that this version of the package doesn't define.
	Why Why
	// Attempt is the number of servers that have been asked in this move,
	// including this one. It is 0 for a new session.
	Attempt int
	// From is the name of the old server in holdfast's configuration. It is
	// empty for a new session, and with old versions of holdfast.
	From string
	// Move is the number of this move of the session, starting at 1. All
	// servers asked in the same move get the same number. Store it with the
	// session's state to detect late writes by a server that the session has
	// already left. It is 0 for a new session, and with old versions of
	// holdfast.
	Move int
}

// Reattached reports whether the session comes from another server. The client
// doesn't notice the move, so the server must not send a greeting. A server that
// doesn't know the session should answer the handshake with 404, and must not
// start a new session; the balancer then asks the next server.
func (s Session) Reattached() bool { return s.Why != WhyNew }

// Reattach returns what holdfast says about the session of the handshake r.
// Holdfast removes these headers from the requests of clients. If clients can
// also reach the server directly, they can forge them, so ID must not be used to
// authenticate a client.
func Reattach(r *http.Request) Session {
	s := Session{ID: r.Header.Get(headerSession), Why: Why(r.Header.Get(headerReattach))}
	if s.Reattached() {
		n, _ := strconv.Atoi(r.Header.Get(headerAttempt))
		s.Attempt = max(n, 1)
		s.From = r.Header.Get(headerFrom)
		n, _ = strconv.Atoi(r.Header.Get(headerMove))
		s.Move = max(n, 0)
	}
	return s
}
