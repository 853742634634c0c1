package relay_test

import (
	"log/slog"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
)

// engine is one to be held to the suite. Those of one system only add
// themselves.
type engine struct {
	name string
	make func(relay.Times, *slog.Logger, relay.Ended) (relay.Engine, error)
}

var engines = []engine{{name: "portable", make: func(times relay.Times, log *slog.Logger, ended relay.Ended) (relay.Engine, error) {
	return relay.NewPortable(times, log, ended), nil
}}}

// suite is what every engine does, whatever it is made of.
var suite = []struct {
	name string
	run  func(*testing.T, engine)
}{
	{"frames pass unchanged however they are cut", testCuts},
	{"early bytes come first", testEarly},
	{"a reader that is stopped stops the writer", testBackpressure},
	{"floods both ways with slow readers", testFlood},
	{"counts while open", testCounts},

	{"close by either side", testClose},
	{"close without a code", testCloseWithoutCode},
	{"close behind much that a slow reader has to take", testCloseBehindMuch},
	{"backend says goodbye and goes, client goes on talking", testCloseAndGone},
	{"a client that is lost", testClientLost},
	{"a backend that is lost", testBackendLost},
	{"a backend that is lost inside a frame", testBackendLostInFrame},
	{"data after a half-close", testHalfClose},
	{"broken framing", testBroken},
	{"no answer to a close", testCloseUnanswered},

	{"pings of ours", testPings},
	{"pongs in pieces", testPongInPieces},
	{"pings and pongs of others", testForeignPongs},
	{"no ping inside a frame", testNoPingInFrame},
	{"a silent side", testSilent},
	{"a silent backend with a client that floods", testSilentWithFlood},
	{"idle timeout", testIdle},
	{"maximum lifetime", testLifetime},
	{"limits beyond the clock", testHugeLimits},

	{"order: at once, both sides asked", testOrder},
	{"order: not inside a message", testOrderInMessage},
	{"order: not before the boundary, then between fragments", testOrderForced},
	{"order: taken back", testOrderTakenBack},
	{"order: with words of its own", testOrderText},
	{"order: for the oldest of some backends", testOrderMost},
	{"order: a frame that never ends", testOrderInFrame},
	{"order: selected ones, once", testOrderSelect},
	{"order: spread evenly, oldest first", testOrderSpread},
	{"order: sides that don't answer", testOrderUnanswered},
	{"order: a client that floods", testOrderFlood},
	{"move", testMove},
	{"move: the client is inside a message", testMoveClientInMessage},
	{"move: the backend is inside a message", testMoveBackendInMessage},
	{"move: a client that does not end its message", testMoveNoBoundary},
	{"move: no other backend", testMoveRefused},
	{"move: an old backend that is stuck", testMoveOldStuck},
	{"move: a search without end", testMoveTimeout},
	{"move: a search that panics", testMovePanics},
	{"move: an old backend that doesn't answer", testMoveSilentOld},
	{"move: an old backend that goes inside a message", testMoveOldCut},
	{"move: an old backend that closes by itself", testMoveOldCloses},
	{"move: the client goes", testMoveClientGoes},
	{"move: an order to close", testMoveShutdown},
	{"move: abort and close of the engine", testMoveAbort},
	{"move: limits", testMoveIdle},
	{"move: another order", testMoveAgain},
	{"move: which order stands", testMoveOrders},
	{"move: pings", testMovePings},
	{"loss", testLoss},
	{"loss: not to be mended", testLossUnwanted},
	{"loss: no other backend", testLossRefused},
	{"loss: by silence", testLossSilence},
	{"loss: inside a message", testLossInMessage},
	{"loss: the client is inside a message", testLossInClientMessage},
	{"loss: the client closes inside a message", testLossCloseInMessage},
	{"loss: before another backend was asked", testLossWhileTurning},
	{"loss: or a Close, before another backend was asked", testCloseWhileTurning},
	{"loss: while another is looked for in vain", testLossWhileSeeking},
	{"loss: while another is found", testLossFoundWhileSeeking},
	{"loss: inside a move", testLossWhileMoved},
	{"again: until there is one", testAgain},
	{"again: where the Mover knows it without a look", testAgainDelay},
	{"again: in vain", testAgainDeadline},
	{"again: not for one that has its backend", testAgainNotLost},
	{"again: an order to move meanwhile", testAgainOrder},
	{"again: the session ends", testAgainEnds},
	{"line: an order taken back", testLineTakenBack},
	{"line: not for ever", testLineTime},
	{"line: a Mover that has them wait", testLineDelay},
	{"line: the session ends", testLineEnds},
	{"move: numbered messages both ways", testMoveNumbered},
	{"move: a client that floods", testMoveFlood},
	{"move: inside a large message", testMoveLarge},

	{"abort", testAbort},
	{"close of the engine", testEngineClose},
	{"start refuses strangers", testStartRefuses},
}

func TestConformance(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			for _, c := range suite {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, e)
				})
			}
		})
	}
}
