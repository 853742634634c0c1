package relay_test

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
)

// engine is an engine under test. Those for one system add themselves to engines.
type engine struct {
	name string
	make func(relay.Times, *slog.Logger, relay.Ended) (relay.Engine, error)
	tls  speaksTLS
}

var engines = []engine{{name: "portable", make: func(times relay.Times, log *slog.Logger, ended relay.Ended) (relay.Engine, error) {
	return relay.NewPortable(times, log, ended), nil
}}}

// conformance is a test of an engine.
type conformance struct {
	name string
	run  func(*testing.T, engine)
}

// suite has the tests that every engine must pass.
var suite = []conformance{
	{"frames pass unchanged however they are cut", testCuts},
	{"early bytes come first", testEarly},
	{"backpressure", testBackpressure},
	{"floods both ways with slow readers", testFlood},
	{"counts while open", testCounts},
	{"counts for each backend", testMeter},

	{"close by either side", testClose},
	{"close without a code", testCloseWithoutCode},
	{"close after much data for a slow reader", testCloseBehindMuch},
	{"backend closes and disconnects while the client sends", testCloseAndGone},
	{"a client that is lost", testClientLost},
	{"a backend that is lost", testBackendLost},
	{"a backend that is lost inside a frame", testBackendLostInFrame},
	{"data after a half-close", testHalfClose},
	{"protocol violation", testBroken},
	{"extensions", testExtensions},
	{"frames that aren't checked", testPassFrames},
	{"a message that is too big", testMaxMessage},
	{"throttling", testThrottle},
	{"throttling and large messages", testThrottleLarge},
	{"too much: closed", testRateClose},
	{"a slow consumer", testSlowConsumer},
	{"a slow consumer that takes all in time", testSlowInTime},
	{"a slow consumer that could be moved", testSlowMoved},
	{"memory for backlogs", testBacklogMemory},
	{"opaque: bytes and memory", testOpaqueBudget},
	{"no answer to a close", testCloseUnanswered},
	{"a late answer to a close", testCloseAnsweredLate},
	{"close timeout", testCloseTimeout},
	{"backend disconnects without answering the client's close", testCloseHungUp},
	{"protocol violation after a message", testBrokenAnswered},
	{"the violated rule, and where", testFault},
	{"the text of a close", testCloseReason},
	{"move: the text of a close is not payload", testMoveKeepsNoPayload},

	{"our pings", testPings},
	{"pongs in pieces", testPongInPieces},
	{"other pings and pongs", testForeignPongs},
	{"no ping inside a frame", testNoPingInFrame},
	{"a silent side", testSilent},
	{"a silent backend with a client that floods", testSilentWithFlood},
	{"a pong for two pings", testPongForBoth},
	{"a side that doesn't answer the other side's ping", testSilentTheirs},
	{"idle timeout", testIdle},
	{"idle timeout: messages only", testIdleMessages},
	{"maximum lifetime", testLifetime},
	{"limits beyond the clock", testHugeLimits},
	{"a token expires", testToken},
	{"a token expires after a move", testTokenAfterMove},

	{"request: at once, both sides asked", testRequest},
	{"request: not inside a message", testRequestInMessage},
	{"request: not before the boundary, then between fragments", testRequestForced},
	{"request: cancelled", testRequestCancelled},
	{"request: with its own reason text", testRequestText},
	{"request: for the oldest of some backends", testRequestMost},
	{"request: a frame that never ends", testRequestInFrame},
	{"request: by backend and age, once", testRequestSelect},
	{"request: by session", testRequestSessions},
	{"request: spread evenly, oldest first", testRequestSpread},
	{"request: sides that don't answer", testRequestUnanswered},
	{"request: a client that floods", testRequestFlood},
	{"move", testMove},
	{"move: the client is inside a message", testMoveClientInMessage},
	{"move: the backend is inside a message", testMoveBackendInMessage},
	{"move: a client that does not end its message", testMoveNoBoundary},
	{"move: no other backend", testMoveRefused},
	{"move: an old backend that reads nothing", testMoveOldStuck},
	{"move: a search without end", testMoveTimeout},
	{"move: a search that panics", testMovePanics},
	{"move: an old backend that doesn't answer", testMoveSilentOld},
	{"move: an old backend that is lost inside a message", testMoveOldCut},
	{"move: an old backend that closes by itself", testMoveOldCloses},
	{"move: an old backend whose own Close crosses ours", testMoveOldCloseCrosses},
	{"move: answers to our Close", testMoveOldAnswers},
	{"move: the client closes or is lost", testMoveClientGoes},
	{"move: a request to close", testMoveShutdown},
	{"move: abort and close of the engine", testMoveAbort},
	{"move: limits", testMoveIdle},
	{"move: another request", testMoveAgain},
	{"move: which request wins", testMoveRequests},
	{"move: pings", testMovePings},
	{"move: its end is reported before the session's", testMoveReportedFirst},
	{"notices", testNotices},
	{"notices: their pongs", testNoticePongs},
	{"notices: the old backend's Close", testNoticeCloses},
	{"notices: an old backend that stays", testNoticeBound},
	{"notices: after a loss", testNoticeLoss},
	{"probation", testProbation},
	{"probation: a backend that rejects", testProbationRejected},
	{"probation: a Close for the client", testProbationVerdict},
	{"probation: other ends and requests", testProbationEnds},
	{"probation: backends that all reject", testProbationForever},
	{"drain: its deadline", testDrainDeadline},
	{"drain: a repeated request", testDrainRepeated},
	{"drain: a request to close after one to move", testDrainUpgraded},
	{"drain: of what is rebalanced", testDrainRebalanced},
	{"loss", testLoss},
	{"loss: without a move", testLossUnwanted},
	{"loss: no other backend", testLossRefused},
	{"loss: by silence", testLossSilence},
	{"loss: a backend that is down", testDown},
	{"loss: a backend that is down, without a move", testDownUnmoved},
	{"loss: inside a message", testLossInMessage},
	{"loss: the client is inside a message", testLossInClientMessage},
	{"loss: the client closes inside a message", testLossCloseInMessage},
	{"loss: before the search", testLossWhileAwaitingBoundary},
	{"loss or Close before the search, inside a message", testCloseWhileAwaitingBoundary},
	{"loss: during a search that finds nothing", testLossWhileConnecting},
	{"loss: during a search that succeeds", testLossFoundWhileConnecting},
	{"loss: during a move, other ends", testLossWhileMoved},
	{"again: until a backend is found", testAgain},
	{"again: Reserve fails", testAgainDelay},
	{"again: until the time is over", testAgainDeadline},
	{"again: not if the session has its backend", testAgainNotLost},
	{"again: a request to move meanwhile", testAgainRequest},
	{"again: the session ends", testAgainEnds},
	{"queue: a cancelled request", testQueueCancelled},
	{"queue: timeout", testQueueTime},
	{"queue: a delay from Reserve", testQueueDelay},
	{"queue: the session ends", testQueueEnds},
	{"move: numbered messages both ways", testMoveNumbered},
	{"move: numbered messages of throttled clients", testMoveThrottled},
	{"move: a client that floods", testMoveFlood},
	{"move: inside a large message", testMoveLarge},

	{"opaque: bytes pass unchanged however they are cut", testOpaqueCuts},
	{"opaque: many that send much", testOpaqueMany},
	{"opaque: half-closed", testOpaqueHalfClosed},
	{"opaque: early bytes come first", testOpaqueEarly},
	{"opaque: an end after much data for a slow reader", testOpaqueBehindMuch},
	{"opaque: a side that is lost", testOpaqueReset},
	{"opaque: a half-closed side that is lost", testOpaqueGone},
	{"opaque: a side closes while the other sends", testOpaqueCloseAndGone},
	{"opaque: requests", testOpaqueRequest},
	{"opaque: a backend that is down", testDownOpaque},
	{"opaque: a request that is not answered", testOpaqueUnanswered},
	{"opaque: limits", testOpaqueLimits},
	{"opaque: idle while half-closed", testOpaqueIdleHalfClosed},

	{"a list in pages", testSessionsPages},
	{"a list while sessions come and go", testListUnderChurn},
	{"the idle time of a list", testIdleOfList},
	{"abort", testAbort},
	{"close of the engine", testEngineClose},
	{"start refuses connections of others", testStartRefuses},
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

// withTLS has the tests of the suite that also run with TLS. Those that are left out
// test decisions, which TLS doesn't touch, or take long.
var withTLS = []string{
	"frames pass unchanged however they are cut", "early bytes come first", "floods both ways with slow readers", "counts while open",
	"close by either side", "close after much data for a slow reader", "backend closes and disconnects while the client sends",
	"a client that is lost", "a backend that is lost", "a backend that is lost inside a frame", "data after a half-close", "protocol violation", "throttling", "a slow consumer",
	"request: at once, both sides asked", "request: not inside a message",
	"move", "move: the client is inside a message", "move: the backend is inside a message", "move: no other backend",
	"probation", "loss", "loss: inside a message", "loss: the client is inside a message", "again: until a backend is found",
	"move: numbered messages both ways", "move: numbered messages of throttled clients", "move: a client that floods", "abort", "close of the engine",
	"opaque: bytes pass unchanged however they are cut", "opaque: half-closed", "opaque: early bytes come first",
	"opaque: an end after much data for a slow reader", "opaque: a side that is lost", "opaque: a side closes while the other sends", "opaque: requests",
}

// TestConformanceTLS runs them with TLS on both sides, or on one.
func TestConformanceTLS(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			for i, name := range withTLS {
				at := slices.IndexFunc(suite, func(c conformance) bool { return c.name == name })
				if at < 0 {
					t.Fatalf("there is no test %q", name)
				}
				e := e
				e.tls = [...]speaksTLS{{true, true}, {true, false}, {false, true}}[i%3]
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					suite[at].run(t, e)
				})
			}
		})
	}
}
