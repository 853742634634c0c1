// Package closing is the last stage: it gives back what a session held and
// tells of its end once, in the same words everywhere; and it plans how a
// balancer that was told to stop spreads its goodbyes.
package closing

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Teller hears of the end of a session.
type Teller interface {
	SessionClosed(session.Summary)
}

// Ledger is what a session is entered in while it lives. All functions are
// called on event loops and must not block.
type Ledger struct {
	// GiveBack returns the session's lease on its backend and its place in
	// the gate. It is called last, so that the tellers can still look up the
	// backend's name.
	GiveBack func(session.Summary)
	Tellers  []Teller
}

// Ended closes the session's entry. It is an engine's Ended.
func (l *Ledger) Ended(s session.Summary) {
	for _, t := range l.Tellers {
		t.SessionClosed(s)
	}
	l.GiveBack(s)
}

// maxRest is the most that is kept back of timeouts.shutdown for the answers
// to the last Close frames.
const maxRest = 5 * time.Second

// Spread divides timeouts.shutdown: closes are spread evenly over the first
// part, and the rest, a fifth but at most five seconds, is for the closing
// handshakes of the last ones.
func Spread(shutdown time.Duration) (spread, rest time.Duration) {
	rest = min(shutdown/5, maxRest)
	return shutdown - rest, rest
}
