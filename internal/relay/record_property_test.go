package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// wire writes a frame by hand; a client's is masked.
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

// piece is a frame that was cut out of a stream by hand.
type piece struct {
	first        byte
	masked       bool
	raw, payload []byte
}

// cut cuts a stream into frames; what is left is less than a frame.
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

// ours tells our own control frames from those of the peers in this test:
// theirs have no pings of 8 bytes, and Closes with codes from 4000 and a
// reason. (A Close of ours without reason answers with the peer's own code.)
func (f *piece) ours() bool {
	return f.first == 0x89 && len(f.payload) == 8 ||
		f.first == 0x88 && (len(f.payload) == 2 || binary.BigEndian.Uint16(f.payload) < 4000)
}

// world is a record with peers that behave as they like, and an engine that
// keeps what is written instead of sending it.
type world struct {
	t   *rapid.T
	r   record
	now eventloop.Tick

	open    [2]bool   // a message of that side's is open
	unsent  [2][]byte // frames of that side that it has not sent
	fed     [2][]byte // what of it was, without its answers to our pings
	pongs   [2][]span // where in all its bytes those are
	sent    [2]int    // all its bytes that were
	queued  [2]int    // all its bytes
	out     [2][]byte // what was written to it
	seen    [2]int    // frames of out that it has looked at
	closing [2]bool   // it has sent a Close
	cause   session.Cause

	moving journey // see move_property_test.go
}

type span struct{ from, to int }

func newWorld(t *rapid.T, l Limits) *world {
	s := Start{Info: session.Info{ID: session.ID{1, 2, 3}}, Limits: l}
	return &world{t: t, now: 10, r: newRecord(&s, 10)}
}

var testTicks = Times{Linger: time.Second, Boundary: time.Second}.ticks()

// queue has s send a frame some time.
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

// speak has s queue a frame that it may.
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

// feed has s send up to n bytes.
func (w *world) feed(s session.Side, n int) {
	h, o := &w.r.half[s], &w.r.half[s.Other()]
	n = min(n, len(w.unsent[s]))
	if n == 0 || o.pending != 0 || h.flags&(isEOF|isLost) != 0 {
		return
	}
	p := bytes.Clone(w.unsent[s][:n])
	w.unsent[s] = w.unsent[s][n:]
	fed := make([]bool, len(p))
	if h.flags&isDeaf == 0 {
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
	if w.r.half[s].flags&isLost == 0 {
		w.out[s] = append(w.out[s], p...)
	}
}

// settle is what engines do after everything.
func (w *world) settle() {
	for range 2 {
		for i := range w.r.half {
			s := session.Side(i)
			w.write(s, w.r.inject(s, w.now, nil, nil))
		}
	}
	for i := range w.r.half {
		if h := &w.r.half[i]; h.flags&isLost != 0 {
			h.pending = 0
		}
	}
	w.step()
}

// expire lets time pass to now and the timer run out where it is due.
func (w *world) expire(by eventloop.Tick, taking bool) {
	w.now += by
	if w.r.settled() || w.r.due(w.now, testTicks) > w.now {
		return
	}
	before := w.moving.ends
	w.r.waited(&w.moving.move, w.now)
	w.r.expired(w.now, testTicks, func(session.Side) bool { return taking })
	w.settle()
	// What a move has put off may be due with its end.
	if at := w.r.due(w.now, testTicks); !w.r.settled() && at <= w.now && w.moving.ends == before {
		w.t.Fatalf("at tick %d it wants to be looked at again at %d", w.now, at)
	}
}

// check compares what was written to each side with what came from the other.
func (w *world) check() {
	w.t.Helper()
	if w.cause != session.None && w.r.cause != w.cause {
		w.t.Fatalf("the cause was %s and is %s", w.cause, w.r.cause)
	}
	w.cause = w.r.cause
	for i := range w.r.half {
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
		h, o := &w.r.half[from], &w.r.half[to]
		if !bytes.HasPrefix(w.fed[from], theirs) {
			w.t.Fatalf("the %s got\n%x, which is no beginning of what the %s sent,\n%x", to, theirs, from, w.fed[from])
		}
		swallowed := w.r.cause == session.None && h.flags&isClosed != 0 // the Close of a backend that it is moved from
		if lag := len(w.fed[from]) - len(theirs); !swallowed && o.flags&isMuted == 0 && h.flags&(isEOF|isLost) == 0 && lag > h.walker.Held()+w.waiting(from) {
			w.t.Fatalf("%d bytes have not come to the %s, %d are held", lag, to, h.walker.Held())
		}
		if h.flags&(isDeaf|isEOF|isLost) == 0 && h.walker.Held() == 0 && int(h.bytes) != w.moving.before[from]+len(w.fed[from])-w.waiting(from) {
			w.t.Fatalf("%d bytes from the %s are counted, of %d", h.bytes, from, w.moving.before[from]+len(w.fed[from])-w.waiting(from))
		}
	}
}

// hear has s look at what came, and answer it or not.
func (w *world) hear(s session.Side) {
	frames, _ := cut(w.out[s])
	for ; w.seen[s] < len(frames); w.seen[s]++ {
		f := frames[w.seen[s]]
		switch {
		case f.first == 0x89 && f.ours() && !w.closing[s]:
			w.queue(s, 0x8A, f.payload, true)
		case f.first == 0x88 && !w.closing[s] && !w.open[s] && rapid.Bool().Draw(w.t, "answer"):
			w.queue(s, 0x88, []byte{0x0F, 0xA1, 'x'}, false)
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
			"block":   func(*rapid.T) { w.r.half[side()].pending = 1 },
			"unblock": func(*rapid.T) { w.r.half[0].pending, w.r.half[1].pending = 0, 0 },
			"seldom": func(t *rapid.T) {
				s := side()
				switch rapid.IntRange(0, 40).Draw(t, "what") {
				case 0:
					w.r.eof(s, w.now)
				case 1:
					w.r.lose(s, w.now)
				case 2:
					w.r.unwritable(s, w.now)
					w.r.eof(s, w.now)
				case 3:
					o := &Order{Code: CodeGoingAway, Reason: GoingAway, Cause: session.Shutdown}
					if w.r.chosen(o) {
						w.r.schedule(o, w.now, time.Duration(rapid.IntRange(0, 3).Draw(t, "spread"))*time.Second)
					}
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

// wind holds that a session ends in time once it has begun to, whatever its
// peers leave undone.
func (w *world) wind() {
	if w.r.cause == session.None {
		w.r.begin(closeOrder{CodeGoingAway, GoingAway, session.Shutdown}, w.now, testTicks.boundary)
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
