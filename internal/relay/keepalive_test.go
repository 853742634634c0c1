package relay_test

import (
	"io"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// often pings often and gives a peer that the tests do answer for ample time.
var often = relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: patience}

// wantPing reads a ping of the balancer's.
func (p *peer) wantPing() string {
	p.t.Helper()
	g, err := p.next()
	if err != nil || g.first != fin|opPing || len(g.payload) != 8 {
		p.t.Fatalf("the %s got %v (%v), want a ping of ours", p.side, g, err)
	}
	return g.payload
}

func testPings(t *testing.T, e engine) {
	r := newRig(t, e, quick, often)
	c, b := r.open()
	seen := map[string]bool{}
	for range 3 {
		for _, p := range []*peer{c, b} {
			nonce := p.wantPing()
			if seen[nonce] {
				t.Errorf("two pings carry %x", nonce)
			}
			seen[nonce] = true
			p.send(p.frame(fin|opPong, nonce))
		}
	}
	// Nothing but the messages has passed, or is counted.
	c.text("up")
	b.text("down")
	skip := func(p *peer) got {
		for {
			g, err := p.next()
			if err != nil || g.first == fin|opPong {
				t.Fatalf("the %s got %v (%v)", p.side, g, err)
			}
			if g.first != fin|opPing {
				return g
			}
			p.send(p.frame(fin|opPong, g.payload))
		}
	}
	if g := skip(b); g.payload != "up" {
		t.Errorf("the backend got %v", g)
	}
	if g := skip(c); g.payload != "down" {
		t.Errorf("the client got %v", g)
	}
	want := [2]session.Traffic{{Messages: 1, Bytes: 8}, {Messages: 1, Bytes: 6}}
	r.until("only the messages are counted", func() bool { return r.onlySession().From == want })
}

func testPongInPieces(t *testing.T, e engine) {
	for _, from := range sides {
		r := newRig(t, e, quick, often)
		p, q := r.both(from)
		c := q.answer(func(g got) {
			if g.first != fin|opText && g.first != fin|opClose || g.first == fin|opText && g.payload != "after" {
				t.Errorf("the %s got %v", q.side, g)
			}
		})
		for range 2 {
			f := p.frame(fin|opPong, p.wantPing())
			for i := range f {
				p.send(f[i : i+1])
				time.Sleep(time.Millisecond) // so that they come one by one
			}
		}
		p.text("after")
		size := uint64(len(p.frame(fin|opText, "after")))
		r.until("the pongs are not counted", func() bool {
			return r.onlySession().From[from] == session.Traffic{Messages: 1, Bytes: size}
		})
		p.TCPConn.Close()
		q.CloseWrite()
		<-c
	}
}

// testForeignPongs: what looks much like our pong but is not passes unchanged,
// and so do pings.
func testForeignPongs(t *testing.T, e engine) {
	for _, from := range sides {
		r := newRig(t, e, quick, often)
		p, q := r.both(from)
		passed := make(chan got, 100)
		done := q.answer(func(g got) { passed <- g })
		frames := []string{"", "12345678", "12345678x", "1234567", "y"}
		pass := func(first byte, s string) {
			t.Helper()
			p.send(p.frame(first, s))
			select {
			case g := <-passed:
				if g.first != first || g.payload != s {
					t.Fatalf("sent %#x %q, came %v", first, s, g)
				}
			case <-time.After(patience):
				t.Fatalf("%#x %q never came", first, s)
			}
		}
		round := func() {
			t.Helper()
			for _, first := range []byte{fin | opPong, fin | opPong | 0x40, fin | opText} {
				for _, s := range frames {
					pass(first, s)
				}
			}
		}
		round()
		nonce := p.wantPing()
		round() // while an answer is awaited
		f := []byte(nonce)
		f[7] ^= 1
		pass(fin|opPong, string(f))
		p.send(p.frame(fin|opPong, nonce)) // ours: swallowed
		pass(fin|opText, "after")
		p.CloseWrite()
		q.CloseWrite()
		<-done
	}
}

func testNoPingInFrame(t *testing.T, e engine) {
	for _, from := range sides {
		r := newRig(t, e, quick, often)
		p, q := r.both(from)
		f := p.frame(fin|opText, "a long sentence")
		p.send(f[:10])
		came := make([]byte, 10)
		if _, err := io.ReadFull(q.r, came); err != nil || string(came) != string(f[:10]) {
			t.Fatalf("came %x (%v)", came, err)
		}
		p.wantPing() // both were due by then
		q.quiet(3 * often.KeepaliveInterval)
		p.send(f[10:])
		if _, err := io.CopyN(io.Discard, q.r, int64(len(f)-10)); err != nil {
			t.Fatal(err)
		}
		q.wantPing() // now it may come
	}
}

func testSilent(t *testing.T, e engine) {
	for _, from := range sides {
		r := newRig(t, e, quick, relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 400 * time.Millisecond})
		began := time.Now()
		p, q := r.both(from)
		go io.Copy(io.Discard, p) // it reads, and says nothing
		code := uint16(0)
		if from == session.Backend {
			code = relay.CodeServiceRestart
		}
		done := q.answer(func(g got) {
			if g.first != fin|opClose || q.side != session.Client {
				t.Errorf("the %s got %v", q.side, g)
			}
			q.close(code)
		})
		<-done
		q.TCPConn.Close()
		r.end(silent(from), code)
		if d := time.Since(began); d < 500*time.Millisecond {
			t.Errorf("given up after %v", d)
		}
	}
}

// testSilentWithFlood: a backend hangs while its client sends more than it
// takes. The client is told, and what it answers is heard.
func testSilentWithFlood(t *testing.T, e engine) {
	r := newRig(t, e, relay.Times{Linger: patience, Boundary: patience},
		relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 400 * time.Millisecond})
	c, b := r.open()
	flood := make(chan struct{})
	var told atomic.Bool
	go func() {
		defer close(flood)
		f := c.frame(fin|2, string(make([]byte, 60_000)))
		for !told.Load() { // soon it is more than the kernel takes
			c.send(f)
		}
	}()
	g, err := c.next()
	for err == nil && g.first == fin|opPing {
		g, err = c.next()
	}
	if told.Store(true); err != nil || g.first != fin|opClose {
		t.Fatalf("the client got %v (%v), want a Close", g, err)
	}
	<-flood
	c.close(1012)
	c.wantEnd()
	r.end(session.BackendSilent, relay.CodeServiceRestart)
	b.wantCut()
}

func testIdle(t *testing.T, e engine) {
	limits := relay.Limits{Idle: 800 * time.Millisecond, KeepaliveInterval: 150 * time.Millisecond, KeepaliveTimeout: patience}
	r := newRig(t, e, quick, limits)
	c, b := r.open()
	// Messages put it off, either way.
	db := b.answer(func(g got) {
		if g.first == fin|opClose {
			b.close(1001)
			b.TCPConn.Close()
		}
	})
	began := time.Now()
	for range 4 {
		time.Sleep(limits.Idle / 2)
		b.text("tick")
	}
	closedWith := make(chan string, 1)
	dc := c.answer(func(g got) {
		if g.first == fin|opClose {
			closedWith <- g.payload
			c.close(1001)
		}
	})
	select {
	case s := <-closedWith:
		if s[:2] != "\x03\xe9" {
			t.Errorf("closed with %q", s)
		}
		if d := time.Since(began); d < 2*limits.Idle {
			t.Errorf("closed after %v though messages came until %v", d, 2*limits.Idle)
		}
	case <-time.After(patience):
		t.Fatal("pings of our own keep an idle session open")
	}
	r.end(session.IdleTimeout, relay.CodeGoingAway)
	<-db
	<-dc
}

func testLifetime(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{Lifetime: 500 * time.Millisecond})
	c, b := r.open()
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for { // busy until the end
			if _, err := b.Write(b.frame(fin|opText, "busy")); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for {
		g, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if g.first == fin|opClose {
			break
		}
	}
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	<-stop
	s := r.end(session.MaxLifetime, relay.CodeGoingAway)
	if s.Duration < 400*time.Millisecond {
		t.Errorf("lasted %v", s.Duration)
	}
}

// testHugeLimits: what is longer than a clock counts is never, not at once.
func testHugeLimits(t *testing.T, e engine) {
	const year = 365 * 24 * time.Hour
	for _, l := range []relay.Limits{
		{Idle: math.MaxInt64}, {Idle: 20 * year}, {Lifetime: 20 * year}, {KeepaliveInterval: 20 * year, KeepaliveTimeout: 1},
	} {
		r := newRig(t, e, quick, l)
		old, _ := r.open()
		old.quiet(200 * time.Millisecond) // so that the clock isn't at its start
		c, b := r.open()
		c.quiet(200 * time.Millisecond)
		b.quiet(200 * time.Millisecond)
		c.text("alive")
		b.wantText("alive")
	}
}
