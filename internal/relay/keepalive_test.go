package relay_test

import (
	"io"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// often has a short interval, and a timeout long enough for peers that answer.
var often = relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: patience}

// wantPing reads a ping of the balancer and returns its payload.
func (p *peer) wantPing() string {
	p.t.Helper()
	g, err := p.next()
	if err != nil || g.first != fin|opPing || len(g.payload) != 8 {
		p.t.Fatalf("the %s got %v (%v), want a ping of ours", p.side, g, err)
	}
	return g.payload
}

func testPings(t *testing.T, e engine) {
	r := newFixture(t, e, quick, often)
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
	// Only the messages were passed on and counted.
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
		r := newFixture(t, e, quick, often)
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

// testForeignPongs: pings, and pongs that resemble the answer to ours, are passed
// on unchanged.
func testForeignPongs(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixtureWith(t, e, quick, &fixture{limits: often, rules: frame.AllowExtension})
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
		round() // while our ping is unanswered
		f := []byte(nonce)
		f[7] ^= 1
		pass(fin|opPong, string(f))
		p.send(p.frame(fin|opPong, nonce)) // the answer to ours: not passed on
		pass(fin|opText, "after")
		p.CloseWrite()
		q.CloseWrite()
		<-done
	}
}

func testNoPingInFrame(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, often)
		p, q := r.both(from)
		f := p.frame(fin|opText, "a long sentence")
		p.send(f[:10])
		came := make([]byte, 10)
		if _, err := io.ReadFull(q.r, came); err != nil || string(came) != string(f[:10]) {
			t.Fatalf("came %x (%v)", came, err)
		}
		p.wantPing() // both are due by now
		q.quiet(3 * often.KeepaliveInterval)
		p.send(f[10:])
		if _, err := io.CopyN(io.Discard, q.r, int64(len(f)-10)); err != nil {
			t.Fatal(err)
		}
		q.wantPing() // now it may be sent
	}
}

// testSilent: TestSilentAfterTimeout says when.
func testSilent(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 400 * time.Millisecond})
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
	}
}

// testSilentWithFlood: a backend hangs while its client sends more than it takes.
// The client gets a Close, and its answer is read.
func testSilentWithFlood(t *testing.T, e engine) {
	r := newFixture(t, e, relay.Times{Linger: patience, Boundary: patience},
		relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 400 * time.Millisecond})
	c, b := r.open()
	flood := make(chan struct{})
	var told atomic.Bool
	go func() {
		defer close(flood)
		f := c.frame(fin|2, string(make([]byte, 60_000)))
		for !told.Load() { // soon more than the kernel's buffers take
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

// testIdleMessages: with Tuning.IdleMessages only messages keep a session open, not
// pings or pongs.
func testIdleMessages(t *testing.T, e engine) {
	limits := relay.Limits{Idle: 800 * time.Millisecond, KeepaliveInterval: 150 * time.Millisecond, KeepaliveTimeout: patience}
	r := newFixture(t, e, quick, limits)
	r.engine.Tune(relay.Tuning{CloseTimeout: quick.Linger, IdleMessages: true})
	c, b := r.open()
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
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // the client pings too
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(limits.Idle / 8):
				c.Write(c.frame(fin|opPing, "mine"))
			}
		}
	}()
	closedWith := make(chan string, 1)
	dc := c.answer(func(g got) {
		if g.first == fin|opClose {
			close(stop)
			<-stopped
			closedWith <- g.payload
			c.close(1001)
		}
	})
	select {
	case s := <-closedWith:
		if s != "\x03\xe9idle timeout" {
			t.Errorf("closed with %q", s)
		}
		if d := time.Since(began); d < 2*limits.Idle {
			t.Errorf("closed after %v though messages came until %v", d, 2*limits.Idle)
		}
	case <-time.After(patience):
		t.Fatal("pings and pongs keep a session without messages open")
	}
	r.end(session.IdleTimeout, relay.CodeGoingAway)
	<-db
	<-dc
}

// testIdle: any frame from either side keeps a session open; without any, it is
// closed.
func testIdle(t *testing.T, e engine) {
	const idle = 800 * time.Millisecond
	for _, living := range sides {
		for name, limits := range map[string]relay.Limits{
			"answers our pings": {Idle: idle, KeepaliveInterval: 150 * time.Millisecond, KeepaliveTimeout: patience},
			"pings":             {Idle: idle},
		} {
			r := newFixture(t, e, quick, limits)
			p, q := r.both(living)
			go io.Copy(io.Discard, q)
			var mute atomic.Bool
			closed := make(chan string, 1)
			go func() {
				for {
					g, err := p.next()
					switch {
					case err != nil:
						return
					case g.first == fin|opClose:
						closed <- g.payload
						return
					case g.first == fin|opPing && !mute.Load():
						p.Write(p.frame(fin|opPong, g.payload))
					}
				}
			}()
			for end := time.Now().Add(3 * idle); time.Now().Before(end); time.Sleep(idle / 8) {
				if limits.KeepaliveInterval == 0 {
					p.send(p.frame(fin|opPing, ""))
				}
			}
			if n := r.engine.Active(); n != 1 {
				t.Fatalf("a session whose %s %s was closed", living, name)
			}
			mute.Store(true)
			if living == session.Client {
				select {
				case s := <-closed:
					if s != "\x03\xe9idle timeout" {
						t.Errorf("closed with %q", s)
					}
				case <-time.After(patience):
					t.Fatalf("a session with nothing at all stays open")
				}
			}
			p.TCPConn.Close()
			q.TCPConn.Close()
			r.endAny()
		}
	}
}

// testPongForBoth: a side that has got a ping of the other side and one of ours may
// answer only the later one (RFC 6455 section 5.5.3). The other side gets the pong
// for its own ping, whatever the order.
func testPongForBoth(t *testing.T, e engine) {
	for _, from := range sides { // this side pings; the other one answers only the latest ping
		r := newFixture(t, e, quick, often)
		p, q := r.both(from)
		pongs := make(chan string, 100)
		done := p.answer(func(g got) {
			if g.first == fin|opPong {
				pongs <- g.payload
			}
		})
		latest := func(d time.Duration) (last got) {
			t.Helper()
			q.SetReadDeadline(time.Now().Add(d))
			for {
				g, err := q.next()
				if err != nil {
					q.SetReadDeadline(time.Now().Add(patience))
					return last
				}
				last = g
			}
		}
		want := func(payload string) {
			t.Helper()
			select {
			case got := <-pongs:
				if got != payload {
					t.Fatalf("the %s got the pong %q, want %q", from, got, payload)
				}
			case <-time.After(patience):
				t.Fatalf("the %s never got the pong to %q", from, payload)
			}
		}
		for _, payloads := range [][]string{{"theirs"}, {"one", "two"}, {"", ""}, {"x", string(make([]byte, 125))}} {
			for _, s := range payloads {
				p.send(p.frame(fin|opPing, s))
			}
			// Long enough for a ping of ours to follow, if there were one.
			last := latest(4 * often.KeepaliveInterval)
			if last.first != fin|opPing {
				t.Fatalf("the %s got %v, want a ping", q.side, last)
			}
			q.send(q.frame(fin|opPong, last.payload))
			want(payloads[len(payloads)-1])
		}
		// Our ping first, then theirs; both are answered, or only the latter.
		for _, both := range []bool{true, false} {
			nonce := q.wantPing()
			p.send(p.frame(fin|opPing, "behind"))
			q.want(fin|opPing, "behind")
			if both {
				q.send(q.frame(fin|opPong, nonce))
			}
			q.send(q.frame(fin|opPong, "behind"))
			want("behind")
		}
		q.wantPing() // our pings continue
		select {
		case got := <-pongs:
			t.Errorf("the %s got a pong %q that it had not asked for", from, got)
		default:
		}
		p.CloseWrite()
		q.CloseWrite()
		<-done
		r.endAny()
	}
}

// testSilentTheirs: a side that doesn't answer the other side's ping is as silent as
// one that doesn't answer ours.
func testSilentTheirs(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{KeepaliveInterval: 200 * time.Millisecond, KeepaliveTimeout: 400 * time.Millisecond})
		p, q := r.both(from)
		q.send(q.frame(fin|opPing, "anyone?"))
		go io.Copy(io.Discard, p) // it reads, and says nothing
		done := q.answer(func(g got) {
			if g.first == fin|opClose {
				q.close(1012)
			}
		})
		<-done
		q.TCPConn.Close()
		if s := r.endAny(); s.Cause != silent(from) {
			t.Errorf("ended with %s, want %s", s.Cause, silent(from))
		}
	}
}

func testLifetime(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{Lifetime: 500 * time.Millisecond})
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

// testHugeLimits: limits longer than the engine's clock can count mean never, not
// at once.
func testHugeLimits(t *testing.T, e engine) {
	const year = 365 * 24 * time.Hour
	for _, l := range []relay.Limits{
		{Idle: math.MaxInt64}, {Idle: 20 * year}, {Lifetime: 20 * year}, {KeepaliveInterval: 20 * year, KeepaliveTimeout: 1},
	} {
		r := newFixture(t, e, quick, l)
		old, _ := r.open()
		old.quiet(200 * time.Millisecond) // so that the clock isn't at its start
		c, b := r.open()
		c.quiet(200 * time.Millisecond)
		b.quiet(200 * time.Millisecond)
		c.text("alive")
		b.wantText("alive")
	}
}
