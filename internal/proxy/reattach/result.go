package reattach

import (
	"cmp"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Move is the outcome of an attempt to give a session another backend.
type Move struct {
	relay.ReattachRequest // Info.Backend: the one that the session was to leave

	From   string        // the name of that backend; "" if it is unknown
	To     uint32        // the new backend; 0 if none was found
	Gap    time.Duration // during which the client was not read
	Result string        // one of Results
	Err    error         // nil if Result is Moved
	Trace  *timing.Trace // of its searches; nil if there was none, or none is wanted
}

// Moved is the Result of a session that was moved. The others are
// failure.ReattachResults.
const Moved = "moved"

// Rejected is the Result of a session whose new backend did not keep it.
var Rejected = failure.Rejected.Reattach()

// Results lists every Result of a Move: the label of holdfast_reattach_total,
// and the word in the log. If several backends were asked, it is that of the
// last one.
func Results() []string { return append([]string{Moved}, failure.ReattachResults()...) }

// Reasons lists why sessions are moved, in words.
func Reasons() []string {
	return []string{session.Drain.String(), session.Loss.String(), session.Rebalance.String()}
}

var (
	errInternal  = failure.New(failure.Internal, "the balancer failed, see the log")
	errOff       = failure.New(failure.ReattachOff, "the session's pool is not configured to give it another backend")
	errNotSaved  = failure.New(failure.NotKept, "the session's handshake was not kept")
	errDifferent = failure.New(failure.Different, "agreed to another subprotocol or other extensions than the backend before it")
	errNoControl = failure.New(failure.Different, "did not answer Holdfast-Control, as the backend before it did")
)

// resultOf is the Result of a move that ended with err.
func resultOf(err error) string {
	if err == nil {
		return Moved
	}
	return cmp.Or(failure.Of(err).Code.Reattach(), failure.Internal.Reattach())
}
