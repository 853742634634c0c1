package relay

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// journey is the state of a world for moves, and of former backends.
type journey struct {
	move
	kept   []byte
	fed    []bool      // which bytes of kept are in world.fed
	why    session.Why // of the search
	before [2]int      // counted bytes that are no longer in fed
	lost   bool        // the backend was lost without a Close before another was found
	swaps  int
	ends   int // of moves
	agains int
}

// notPassed is how many bytes of s were fed and must not be passed on yet.
func (w *world) notPassed(s session.Side) int {
	if s == session.Client {
		n := 0
		for _, fed := range w.moving.fed {
			if fed {
				n++
			}
		}
		return n
	}
	return len(w.moving.begun)
}

// pass is driver.carry.
func (w *world) pass(s session.Side, p []byte, fed []bool, scratch *[]byte) []byte {
	if w.r.phase <= queued {
		return w.r.pass(s, p, w.now, scratch, nil, nil)
	}
	out, rest := w.r.passMoving(&w.moving.move, s, p, w.now, scratch, nil, nil)
	w.moving.kept = append(w.moving.kept, rest...)
	w.moving.fed = append(w.moving.fed, fed[len(fed)-len(rest):]...)
	return out
}

// step takes the next steps of a move.
func (w *world) step() {
	m := &w.moving.move
	for w.r.phase != idle && !w.r.settled() {
		switch w.r.nextStep(m) {
		case stepNone:
			return
		case stepReserve:
			if w.r.phase == queued && w.r.sides[0].flags&readPaused != 0 {
				w.t.Fatalf("its client is paused before its turn: %+v", w.r)
			}
			if w.r.plan.why() == session.Loss && rapid.IntRange(0, 4).Draw(w.t, "none") == 0 {
				w.noneNow()
				continue
			}
			// Usually there is no delay.
			if d := max(0, rapid.IntRange(-3, 3).Draw(w.t, "delay")); w.r.reserved(m, time.Duration(d)*eventloop.Tick(1).Duration(), w.now) != (d == 0) {
				w.t.Fatalf("a delay of %d ticks: %+v", d, m)
			}
			if w.r.nextStep(m) != stepNone {
				w.t.Fatalf("there is a step before its turn: %+v", w.r)
			}
		case stepSwap:
			w.swap()
		case stepKeep:
			w.r.moveEnded(w.now)
			w.goOn()
		}
	}
}

// call is driver.dequeued.
func (w *world) call() {
	if w.r.dequeue(&w.moving.move, w.now, testTicks) {
		w.seek()
	}
	w.settle()
}

func (w *world) seek() {
	if b := &w.r.sides[session.Backend]; b.flags&(isEOF|isLost|discardReads|writeClosed) == 0 && (b.pending != 0 || w.r.sides[0].flags&readPaused == 0) {
		w.t.Fatalf("it searches before its backend has got everything: %+v", w.r)
	}
	w.r.beginSearch(&w.moving.move, w.now)
	w.moving.why = w.r.plan.why()
	if w.r.nextStep(&w.moving.move) != stepNone {
		w.t.Fatalf("there is a step before another backend is found: %+v", w.r)
	}
}

// noneNow is a search that fails with a Retryable.
func (w *world) noneNow() {
	m, by := &w.moving.move, w.moving.move.waitBy
	if w.r.phase == awaitingBoundary {
		by = w.r.deadline
	}
	loss := w.r.plan.why() == session.Loss
	w.r.noneFound(m, Retryable{errOver}, w.now, testTicks)
	switch again := w.r.phase == awaitingBoundary; {
	case again != (loss && w.now < by):
		w.t.Fatalf("there is time up to %d, at %d for a loss %v: %+v, %+v", by, w.now, loss, w.r, m)
	case again && (w.r.deadline <= w.now || w.r.deadline > by || m.waitBy != by || w.r.nextStep(m) != stepNone || !w.r.backendGone()):
		w.t.Fatalf("at %d it searches again before %d: %+v, %+v", w.now, by, w.r, m)
	case again:
		w.moving.agains++
	}
}

var errOver = errors.New("none")

// goOn is driver.goOn.
func (w *world) goOn() {
	w.moving.ends++
	kept, begun := w.moving.kept, w.moving.begun
	fed := w.moving.fed
	w.moving.kept, w.moving.fed, w.moving.move = nil, nil, move{}
	var scratch []byte
	if len(begun) > 0 && w.r.sides[session.Backend].flags&isLost == 0 {
		w.write(session.Client, w.pass(session.Backend, begun, make([]bool, len(begun)), &scratch))
	}
	if len(kept) > 0 {
		w.write(session.Backend, w.pass(session.Client, kept, fed, &scratch))
	}
	w.settle()
}

// theirs is a stream to a side without our own frames, and the first byte of the
// last frame.
func theirs(p []byte) (all []byte, last byte) {
	frames, rest := cut(p)
	for _, f := range frames {
		if last = f.first; !f.ours() {
			all = append(all, f.raw...)
		}
	}
	return append(all, rest...), last
}

// wholeMessages checks that a stream ends between two messages.
func (w *world) wholeMessages(what string, p []byte, masked bool) {
	walker := frame.Walker{Masked: masked}
	walker.Walk(p, 0)
	if !walker.AtMessage() {
		w.t.Fatalf("%s end inside a message:\n%x", what, p)
	}
}

// swap checks that the bytes of each side came to the right place, and is then
// driver.swap.
func (w *world) swap() {
	j := &w.moving
	c, b := &w.r.sides[session.Client], &w.r.sides[session.Backend]
	// Those of the client: all but the kept ones to the old backend.
	past := w.fed[session.Client][:len(w.fed[session.Client])-w.notPassed(session.Client)]
	got, last := theirs(w.out[session.Backend])
	// The walker may hold a frame that so far resembles a pong to our ping.
	if _, held := cut(past); len(held) > 0 {
		if past = past[:len(past)-len(held)]; len(held) != c.walker.Held() {
			w.t.Fatalf("the client is held inside a frame: %x", held)
		}
	}
	if j.why != session.Loss { // if it was lost nevertheless, it had got everything before
		if !bytes.Equal(past, got) {
			w.t.Fatalf("the old backend got\n%x of\n%x", got, past)
		}
		w.wholeMessages("the old backend's", got, true)
		if last != 0x88 && b.flags&isLost == 0 && !w.closing[session.Backend] {
			w.t.Fatalf("the old backend got no Close: %x", w.out[session.Backend])
		}
	} else if !bytes.HasPrefix(past, got) {
		w.t.Fatalf("the lost backend got\n%x of\n%x", got, past)
	}
	w.wholeMessages("the client's before the cut", past, true)
	j.before[session.Client] += len(past)
	w.fed[session.Client] = bytes.Clone(w.fed[session.Client][len(past):])
	w.out[session.Backend] = nil

	// Those of the old backend: all to the client, up to its Close or its end.
	frames, _ := cut(w.fed[session.Backend])
	var said []byte
	for _, f := range frames {
		if f.first == 0x88 {
			break
		}
		said = append(said, f.raw...)
	}
	came, _ := theirs(w.out[session.Client])
	if !bytes.Equal(came, said) {
		w.t.Fatalf("of the old backend's\n%x came\n%x", said, came)
	}
	w.wholeMessages("the old backend's to the client", said, false)
	w.fed[session.Backend] = said
	s := session.Backend
	w.open[s], w.unsent[s], w.pongs[s], w.sent[s], w.queued[s], w.seen[s], w.closing[s] = false, nil, nil, 0, 0, 0, false

	w.r.swapped(w.r.backend+1, false, w.now, testTicks)
	j.before[s] = int(b.bytes) - len(said)
	j.lost, j.begun = false, nil
	j.swaps++
	w.goOn()
}

func TestMoveProperties(t *testing.T) {
	limits := []Limits{
		{},
		{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 600 * time.Millisecond},
		{Idle: 5 * time.Second, Lifetime: time.Minute},
	}
	swaps, agains := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.SampledFrom(limits).Draw(t, "limits"))
		w.r.plan = movable
		w.r.moveTimeout = 10
		if rapid.Bool().Draw(t, "on loss") {
			w.r.plan |= onLoss
		}
		side := func() session.Side { return session.Side(rapid.IntRange(0, 1).Draw(t, "side")) }
		request := func(t *rapid.T) {
			o := MoveRequest{Why: session.Drain}
			if rapid.IntRange(0, 3).Draw(t, "only") == 0 {
				o.OrClose = &Close{Code: CodeGoingAway, Reason: GoingAway, Cause: session.BackendDrained}
			}
			if w.carryOut(o.request(nil), 0) {
				w.expire(2, false)
			}
		}
		found := func(t *rapid.T) {
			if w.r.phase == connecting {
				switch rapid.IntRange(0, 5).Draw(t, "found") {
				case 0:
					w.r.noneFound(&w.moving.move, errOver, w.now, testTicks)
				case 1:
					w.noneNow()
				default:
					w.r.found(&w.moving.move, w.now, testTicks)
				}
				w.settle()
			}
		}
		often := map[string]func(*rapid.T){
			"": func(*rapid.T) {
				w.check()
				if w.moving.lost && w.r.cause == session.ReattachFailed {
					t.Fatalf("a loss is reported as a move that failed: %+v", w.r)
				}
			},
			"speak":   func(*rapid.T) { w.speak(side()) },
			"speak 2": func(*rapid.T) { w.speak(side()) },
			"feed":    func(*rapid.T) { w.feed(side(), 1<<20) },
			"feed some": func(t *rapid.T) {
				w.feed(side(), rapid.IntRange(1, 30).Draw(t, "bytes"))
			},
			"feed 2":  func(*rapid.T) { w.feed(session.Backend, 1<<20) },
			"hear":    func(*rapid.T) { w.hear(side()) },
			"hear 2":  func(*rapid.T) { w.hear(session.Backend) },
			"move":    request,
			"move 2":  request,
			"call":    func(*rapid.T) { w.call() },
			"call 2":  func(*rapid.T) { w.call() },
			"found":   found,
			"found 2": found,
			"time": func(t *rapid.T) {
				w.expire(eventloop.Tick(rapid.IntRange(0, 3).Draw(t, "ticks")), rapid.Bool().Draw(t, "taking"))
			},
			"block":   func(*rapid.T) { w.r.sides[side()].pending = 1 },
			"unblock": func(*rapid.T) { w.r.sides[0].pending, w.r.sides[1].pending = 0, 0; w.settle() },
			"unblock 2": func(*rapid.T) {
				w.r.sides[0].pending, w.r.sides[1].pending = 0, 0
				w.settle()
			},
			"seldom": func(t *rapid.T) {
				b := session.Backend
				lost := func() {
					if w.r.sides[b].flags&(isEOF|isLost|discardReads) == 0 && w.r.phase != drainingOld {
						w.moving.lost = true
					}
				}
				switch rapid.IntRange(0, 40).Draw(t, "what") {
				case 0, 1:
					lost()
					w.r.eof(b, w.now)
				case 2, 3:
					lost()
					w.r.lose(b, w.now)
				case 4, 5:
					w.r.unwritable(b, true, w.now)
				case 6:
					w.r.lose(session.Client, w.now)
				case 7:
					if w.r.sides[0].flags&readPaused != 0 {
						w.r.clientEnds(w.now)
					}
				case 8:
					w.carryOut(closeForTest.request(nil), time.Second)
				case 13:
					w.carryOut((&CancelRequest{}).request(), 0)
				case 9, 10, 11:
					if s := side(); !w.closing[s] {
						code := rapid.SampledFrom([]byte{0xE9, 0xF4}).Draw(t, "code")
						w.queue(s, 0x88, []byte{0x03, code, 'x'}, false)
					}
				case 12:
					if s := side(); !w.closing[s] {
						w.queue(s, 0x88, []byte{0x0F, 0xA0, 'x'}, false)
					}
				}
				w.settle()
			},
		}
		t.Repeat(often)
		swaps += w.moving.swaps
		agains += w.moving.agains
		w.windMove()
		w.wind()
	})
	if swaps == 0 {
		t.Error("nothing was ever moved")
	}
	t.Logf("%d swaps, %d were to look again", swaps, agains)
}

// windMove checks that a move ends in time even if its peers do nothing and no
// backend is found.
func (w *world) windMove() {
	w.r.sides[0].pending, w.r.sides[1].pending = 0, 0
	w.settle()
	bound := w.now + 2*testTicks.boundary + 2*(w.r.moveTimeout+2) + testTicks.linger + 4
	for w.r.phase != idle && w.r.cause == session.None {
		if w.now > bound {
			w.t.Fatalf("still being moved at tick %d: %+v", w.now, w.r)
		}
		w.expire(1, false)
		w.check()
	}
}
