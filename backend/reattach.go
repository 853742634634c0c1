package backend

import (
	"net/http"
	"strconv"
)

// What holdfast tells a server about a session, docs/reattach.md.
const (
	headerSession  = "Holdfast-Session"
	headerReattach = "Holdfast-Reattach"
	headerAttempt  = "Holdfast-Attempt"
)

// Why is the reason for which a session has come from another server.
type Why string

const (
	// WhyNew is a session that begins.
	WhyNew Why = ""
	// WhyDrain is one whose server is being drained. That server is still
	// there, and has the session's client until it has answered a Close:
	// read the session's state at its first message, not before.
	WhyDrain Why = "drain"
	// WhyLoss is one whose server is gone without a Close. What was on its way
	// to it may be lost.
	WhyLoss Why = "loss"
	// WhyRebalance is one whose server had more than its part. It is as
	// WhyDrain, and that server stays.
	WhyRebalance Why = "rebalance"
)

// Session is what holdfast says of a session in its handshake.
type Session struct {
	// ID is the same for as long as the client is there, whichever server it
	// has, and stands in holdfast's log. "" means that there is no holdfast
	// before this server.
	ID string
	// Why is WhyNew, or why another server gave the session away. It may be a
	// word that this version of the package doesn't know.
	Why Why
	// Attempt counts the servers that have been asked to take the session
	// over, this one included. 0 where Why is WhyNew.
	Attempt int
}

// Reattached tells that the session has come from another server, and its
// client thinks that it has been here all along: it waits for no greeting, and
// for the answers that the other server still owed it. A server that doesn't
// know the session should answer 404, not begin anew; the balancer then asks
// the next.
func (s Session) Reattached() bool { return s.Why != WhyNew }

// Reattach reads what holdfast says of the session that the handshake r is
// for. Holdfast lets no client send these fields; where clients can reach the
// server without it, they can write what they like, and ID must not be taken
// for a proof of who they are.
func Reattach(r *http.Request) Session {
	s := Session{ID: r.Header.Get(headerSession), Why: Why(r.Header.Get(headerReattach))}
	if s.Reattached() {
		n, _ := strconv.Atoi(r.Header.Get(headerAttempt))
		s.Attempt = max(n, 1)
	}
	return s
}
