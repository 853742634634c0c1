// Package closing is the last stage. It reports the end of each session once to
// every observer, and releases what the session held. It also plans how a
// balancer that stops spreads the Close frames for its sessions over time.
package closing

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Observer is called at the end of each session.
type Observer interface {
	SessionClosed(session.Summary)
}

// Closer ends sessions. Its functions are called on event loops and must not
// block.
type Closer struct {
	// Release releases the session's lease on its backend and its place in the
	// gate. It is called last, so that the observers can still look up the
	// backend's name.
	Release   func(session.Summary)
	Observers []Observer
}

// Ended is called by the engine, once for each session.
func (c *Closer) Ended(s session.Summary) {
	for _, o := range c.Observers {
		o.SessionClosed(s)
	}
	c.Release(s)
}

// maxRest bounds the part of timeouts.shutdown that is left for the answers to
// the last Close frames.
const maxRest = 5 * time.Second

// Spread divides timeouts.shutdown. Close frames are sent evenly over the first
// part. The rest, a fifth but at most five seconds, is for the closing
// handshakes of the last sessions.
func Spread(shutdown time.Duration) (spread, rest time.Duration) {
	rest = min(shutdown/5, maxRest)
	return shutdown - rest, rest
}
