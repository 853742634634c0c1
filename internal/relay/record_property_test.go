package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// wire returns an encoded frame. A client's is masked.
func wire(s session.Side, first byte, payload []byte) []byte {
	b := []byte{first}
	if len(payload) < 126 {
		b = append(b, byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(len(payload)))
	}
	key := [4]byte{}
	if s == session.Client {
		key = [4]byte{1, 2, 3, 4}
		b[1] |= 0x80
		b = append(b, key[:]...)
	}
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// piece is a frame that was cut out of a stream without the walker.
type piece struct {
	first        byte
	masked       bool
	raw, payload []byte
}

// cut cuts a stream into frames. The rest is less than a frame.
func cut(p []byte) (frames []piece, rest []byte) {
	for len(p) >= 2 {
		at, size := 2, int(p[1]&127)
		if size == 126 {
			if len(p) < 4 {
				break
			}
			at, size = 4, int(binary.BigEndian.Uint16(p[2:]))
		}
		f := piece{first: p[0], masked: p[1] >= 0x80}
		if f.masked {
			at += 4
		}
		if len(p) < at+size {
			break
		}
		f.raw, p = p[:at+size], p[at+size:]
		for i, c := range f.raw[at:] {
			if f.masked {
				c ^= f.raw[at-4+i%4]
			}
			f.payload = append(f.payload, c)
		}
		frames = append(frames, f)
	}
	return frames, p
}

// ours distinguishes our own control frames from those of the peers in this test.
// They send no pings of 8 bytes, and their Closes have a code from 4000 on and a
// reason. (If our Close has no reason, it answers with the peer's own code.)
func (f *piece) ours() bool {
	return f.first == 0x89 && len(f.payload) == 8 ||
		f.first == 0x88 && (len(f.payload) == 2 || binary.BigEndian.Uint16(f.payload) < 4000)
}

// world is a record with peers that do anything, and an engine that keeps the bytes
// it should send.
type world struct {
	t   *rapid.T
	r   record
	now eventloop.Tick

	open    [2]bool   // that side is inside a message
	unsent  [2][]byte // frames of that side that it has not sent
	fed     [2][]byte // bytes that it has sent, without its answers to our pings
	pongs   [2][]span // where in all its bytes these answers are
	sent    [2]int    // how many bytes it has sent
	queued  [2]int    // how many bytes it has, sent or not
	out     [2][]byte // what was written to it
	seen    [2]int    // how many frames of out it has read
	closing [2]bool   // it has sent a Close
	cause   session.Cause

	moving journey // see phase_property_test.go
}

type span struct{ from, to int }

func newWorld(t *rapid.T, l Limits) *world {
	s := Start{Info: session.Info{ID: session.ID{1, 2, 3}}, Limits: l}
	return &world{t: t, now: 10, r: newRecord(&s, 10, testTicks.sets)}
}

var testTicks = Times{Linger: time.Second, Boundary: time.Second}.ticks().forDriver()

// queue makes s send a frame later.
func (w *world) queue(s session.Side, first byte, payload []byte, pong bool) {
	f := wire(s, first, payload)
	if pong {
		w.pongs[s] = append(w.pongs[s], span{w.queued[s], w.queued[s] + len(f)})
	}
	w.unsent[s] = append(w.unsent[s], f...)
	w.queued[s] += len(f)
	if first == 0x88 {
		w.closing[s] = true
	}
}

// speak makes s queue any frame that is allowed.
func (w *world) speak(s session.Side) {
	if w.closing[s] {
		return
	}
	payload := make([]byte, rapid.SampledFrom([]int{0, 1, 7, 9, 125, 126, 500}).Draw(w.t, "size"))
	switch rapid.IntRange(0, 9).Draw(w.t, "kind") {
	case 0:
		w.queue(s, 0x89, payload[:min(len(payload), 7)], false)
	case 1:
		w.queue(s, 0x8A, make([]byte, rapid.SampledFrom([]int{0, 8, 9}).Draw(w.t, "pong")), false)
	default:
		first := byte(0x82)
		if w.open[s] {
			first = 0x80
		}
		if w.open[s] = rapid.Bool().Draw(w.t, "fragment"); w.open[s] {
			first &^= 0x80
		}
		w.queue(s, first, payload, false)
	}
}

// feed makes s send up to n bytes.
func (w *world) feed(s session.Side, n int) {
	h, o := &w.r.sides[s], &w.r.sides[s.Other()]
	n = min(n, len(w.unsent[s]))
	if n == 0 || o.pending != 0 || h.flags&(isEOF|isLost) != 0 {
		return
	}
	p := bytes.Clone(w.unsent[s][:n])
	w.unsent[s] = w.unsent[s][n:]
	fed := make([]bool, len(p))
	if h.flags&discardReads == 0 {
		for i, b := range p {
			at, own := w.sent[s]+i, false
			for _, sp := range w.pongs[s] {
				own = own || at >= sp.from && at < sp.to
			}
			if fed[i] = !own; !own {
				w.fed[s] = append(w.fed[s], b)
			}
		}
	}
	w.sent[s] += n
	var scratch []byte
	w.write(s.Other(), w.pass(s, p, fed, &scratch))
	w.settle()
}

func (w *world) write(s session.Side, p []byte) {
	if w.r.sides[s].flags&isLost == 0 {
		w.out[s] = append(w.out[s], p...)
	}
}

// settle is driver.settle.
func (w *world) settle() {
	for range 2 {
		for i := range w.r.sides {
			s := session.Side(i)
			w.write(s, w.r.inject(s, w.now, nil, nil))
		}
	}
	for i := range w.r.sides {
		if h := &w.r.sides[i]; h.flags&isLost != 0 {
			h.pending = 0
		}
	}
	w.step()
}

// expire lets time pass, and the timer expire if it is due.
func (w *world) expire(by eventloop.Tick, taking bool) {
	w.now += by
	if w.r.settled() || w.r.due(w.now, testTicks) > w.now {
		return
	}
	before := w.moving.ends
	w.r.delayOver(&w.moving.move, w.now)
	w.r.expired(w.now, testTicks, func(session.Side) bool { return taking })
	w.settle()
	// The end of a move may make something due that waited for it.
	if at := w.r.due(w.now, testTicks); !w.r.settled() && at <= w.now && w.moving.ends == before {
		w.t.Fatalf("at tick %d it is due at %d", w.now, at)
	}
}

// check compares the bytes written to each side with those from the other.
func (w *world) check() {
	w.t.Helper()
	if w.cause != session.None && w.r.cause != w.cause {
		w.t.Fatalf("the cause was %s and is %s", w.cause, w.r.cause)
	}
	w.cause = w.r.cause
	for i := range w.r.sides {
		to := session.Side(i)
		from := to.Other()
		frames, rest := cut(w.out[to])
		var theirs []byte
		over := false
		for _, f := range frames {
			if over {
				w.t.Fatalf("after a Close the %s got %x", to, f.raw)
			}
			if f.masked != (to == session.Backend) {
				w.t.Fatalf("the %s got a frame with masking %v", to, f.masked)
			}
			over = f.first == 0x88
			if !f.ours() {
				theirs = append(theirs, f.raw...)
			}
		}
		if over && len(rest) > 0 {
			w.t.Fatalf("after a Close the %s got %x", to, rest)
		}
		theirs = append(theirs, rest...)
		h, o := &w.r.sides[from], &w.r.sides[to]
		if !bytes.HasPrefix(w.fed[from], theirs) {
			w.t.Fatalf("the %s got\n%x, which isn't a prefix of what the %s sent,\n%x", to, theirs, from, w.fed[from])
		}
		swallowed := w.r.cause == session.None && h.flags&isClosed != 0 // the Close of an old backend isn't passed on
		if lag := len(w.fed[from]) - len(theirs); !swallowed && o.flags&writeClosed == 0 && h.flags&(isEOF|isLost) == 0 && lag > h.walker.Held()+w.notPassed(from) {
			w.t.Fatalf("%d bytes have not come to the %s, %d are held", lag, to, h.walker.Held())
		}
		if h.flags&(discardReads|isEOF|isLost) == 0 && h.walker.Held() == 0 && int(h.bytes) != w.moving.before[from]+len(w.fed[from])-w.notPassed(from) {
			w.t.Fatalf("%d bytes from the %s are counted, of %d", h.bytes, from, w.moving.before[from]+len(w.fed[from])-w.notPassed(from))
		}
	}
}

// hear makes s read what came, and answer it or not.
func (w *world) hear(s session.Side) {
	frames, _ := cut(w.out[s])
	for ; w.seen[s] < len(frames); w.seen[s]++ {
		f := frames[w.seen[s]]
		switch {
		case f.first == 0x89 && f.ours() && !w.closing[s]:
			w.queue(s, 0x8A, f.payload, true)
		case f.first == 0x88 && !w.closing[s] && !w.open[s] && rapid.Bool().Draw(w.t, "answer"):
			answer := []byte{0x0F, 0xA1, 'x'}
			if w.r.phase == drainingOld && s == session.Backend && rapid.IntRange(0, 3).Draw(w.t, "echo") > 0 {
				answer = []byte{0x03, 0xF4, 'x'} // otherwise the Close is for the client
			}
			w.queue(s, 0x88, answer, false)
		}
	}
}

func TestRecordProperties(t *testing.T) {
	limits := []Limits{
		{},
		{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 150 * time.Millisecond},
		{KeepaliveInterval: 150 * time.Millisecond, KeepaliveTimeout: 600 * time.Millisecond, Idle: 5 * time.Second},
		{Idle: time.Second}, {Lifetime: 2 * time.Second, KeepaliveInterval: 100 * time.Millisecond, KeepaliveTimeout: time.Minute},
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.SampledFrom(limits).Draw(t, "limits"))
		side := func() session.Side { return session.Side(rapid.IntRange(0, 1).Draw(t, "side")) }
		often := map[string]func(*rapid.T){
			"":        func(*rapid.T) { w.check() },
			"speak":   func(*rapid.T) { w.speak(side()) },
			"speak 2": func(*rapid.T) { w.speak(side()) },
			"feed":    func(*rapid.T) { w.feed(side(), 1<<20) },
			"feed some": func(t *rapid.T) {
				w.feed(side(), rapid.IntRange(1, 30).Draw(t, "bytes"))
			},
			"hear": func(*rapid.T) { w.hear(side()) },
			"time": func(t *rapid.T) {
				w.expire(eventloop.Tick(rapid.IntRange(0, 5).Draw(t, "ticks")), rapid.Bool().Draw(t, "taking"))
			},
			"block":   func(*rapid.T) { w.r.sides[side()].pending = 1 },
			"unblock": func(*rapid.T) { w.r.sides[0].pending, w.r.sides[1].pending = 0, 0 },
			"seldom": func(t *rapid.T) {
				s := side()
				switch rapid.IntRange(0, 40).Draw(t, "what") {
				case 0:
					w.r.eof(s, w.now)
				case 1:
					w.r.lose(s, w.now)
				case 2:
					w.r.unwritable(s, true, w.now)
					w.r.eof(s, w.now)
				case 3:
					w.carryOut(closeForTest.request(nil), time.Duration(rapid.IntRange(0, 3).Draw(t, "spread"))*time.Second)
				case 4:
					if !w.closing[s] {
						w.queue(s, 0x88, []byte{0x0F, 0xA0, 'x'}, false)
					}
				}
				w.settle()
			},
		}
		t.Repeat(often)
		w.wind()
	})
}

var closeForTest = CloseRequest{Close: Close{Code: CodeGoingAway, Reason: GoingAway, Cause: session.Shutdown}}

// carryOut schedules q for the session, if q includes it.
func (w *world) carryOut(q *request, after time.Duration) bool {
	if !q.includes(&w.r) {
		return false
	}
	q.schedule(&w.r, w.now, after)
	return true
}

// wind checks that a closing session ends in time, even if its peers do nothing.
func (w *world) wind() {
	if w.r.cause == session.None {
		w.r.beginClose(plannedClose{CodeGoingAway, GoingAway, session.Shutdown}, w.now, testTicks.boundary)
		w.settle()
	}
	bound := w.now + 2*testTicks.linger + testTicks.boundary + 4
	for !w.r.settled() {
		if w.now > bound {
			w.t.Fatalf("not settled at tick %d: %+v", w.now, w.r)
		}
		w.expire(1, false)
		w.check()
	}
}
