package relay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// wantLimit ends both connections of a session, and checks for which limit it has ended.
func (r *fixture) wantLimit(c, b *peer, cause session.Cause, limit session.Limit, side session.Side) session.Summary {
	r.t.Helper()
	c.TCPConn.Close()
	b.TCPConn.Close()
	s := r.endAny()
	if s.Cause != cause || s.Limit != limit || s.LimitSide != side {
		r.t.Errorf("ended with %s by the %s's %s, want %s by the %s's %s", s.Cause, s.LimitSide, s.Limit, cause, side, limit)
	}
	return s
}

// testMaxMessage: a message that is too big ends the session as soon as a header says
// so. A backend may send as much as it likes.
func testMaxMessage(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{MaxMessage: 1000})
	large := strings.Repeat("x", 1000)
	for name, over := range map[string]func(*peer) []byte{
		"whole":     func(c *peer) []byte { return c.frame(fin|opText, large+"x") },
		"fragments": func(c *peer) []byte { return append(c.frame(opText, large), c.frame(fin, "x")...) },
		"a header": func(c *peer) []byte {
			return append(binary.BigEndian.AppendUint64([]byte{fin | 2, 127 | 0x80}, 1<<62), 1, 2, 3, 4)
		},
	} {
		c, b := r.open()
		c.text(large)
		c.send(c.frame(opText, large[:999]), c.frame(fin|opPing, "between"), c.frame(fin, "x"))
		b.wantText(large)
		b.want(opText, large[:999])
		b.want(fin|opPing, "between")
		b.want(fin, "x")
		b.text(large + large)
		c.wantText(large + large)
		c.send(over(c))
		c.want(fin|opClose, "\x03\xf1message too big")
		if name == "fragments" {
			b.want(opText, large)
		}
		b.want(fin|opClose, "\x03\xe9going away")
		r.wantLimit(c, b, session.MessageTooBig, session.MaxMessage, session.Client)
	}
}

// count reads so many messages.
func (p *peer) count(n int) {
	p.t.Helper()
	for i := range n {
		if g, err := p.next(); err != nil || g.first == fin|opClose {
			p.t.Fatalf("message %d to the %s: %v, %v", i, p.side, g, err)
		}
	}
}

// testThrottle: a client that sends more than it may is read more slowly. Nothing is
// lost, and the backend is not slowed down.
func testThrottle(t *testing.T, e engine) {
	const rate, messages = 100, 200
	for name, limits := range map[string]relay.Limits{
		"messages": {MessagesPerSecond: rate},
		"bytes":    {BytesPerSecond: rate * 100, MaxMessage: 1000},
		"both":     {BytesPerSecond: rate * 100, MessagesPerSecond: rate},
	} {
		r := newFixture(t, e, quick, limits)
		c, b := r.open()
		payload := strings.Repeat("x", 94) // with its header, 100 bytes
		began := time.Now()
		for range messages {
			c.text(payload)
		}
		var work sync.WaitGroup
		work.Go(func() {
			for range messages {
				b.wantText(payload)
			}
		})
		for range messages {
			b.text(payload)
		}
		c.count(messages)
		work.Wait()
		// At first a second's worth may come at once, and a read may be of more.
		took := time.Since(began)
		if least := time.Second * (messages - rate - 40) / rate; took < least {
			t.Errorf("%s: %d messages took %v, want %v or more", name, messages, took, least)
		}
		c.close(1000)
		b.wantClose(1000)
		b.close(1000)
		b.TCPConn.Close()
		c.TCPConn.Close()
		r.end(session.ClientClosed, 1000)
	}

	// Pings are messages, too.
	r := newFixture(t, e, quick, relay.Limits{MessagesPerSecond: rate})
	c, b := r.open()
	began := time.Now()
	for range messages {
		c.send(c.frame(fin|opPing, strings.Repeat("p", 94)))
	}
	b.count(messages)
	if took := time.Since(began); took < 600*time.Millisecond {
		t.Errorf("%d pings took %v", messages, took)
	}
}

// testThrottleLarge: a message that has begun passes in one go.
func testThrottleLarge(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{MessagesPerSecond: 1})
	c, b := r.open()
	large := string(bytes.Repeat([]byte("0123456789"), 100_000))
	for _, m := range []string{large, "last"} {
		c.text(m)
		b.wantText(m)
	}
	c.TCPConn.Close()
	b.TCPConn.Close()
	r.endAny()
}

// testRateClose: with CloseOnExcess, a client that sends too much gets a Close. What it
// might send was passed on.
func testRateClose(t *testing.T, e engine) {
	for _, first := range []byte{fin | opText, fin | opPing, fin | opPong} {
		r := newFixture(t, e, quick, relay.Limits{MessagesPerSecond: 20, CloseOnExcess: true})
		c, b := r.open()
		f := c.frame(first, "x")
		c.send(bytes.Repeat(f, 1000))
		c.want(fin|opClose, "\x03\xf0rate limit exceeded")
		b.count(20)
		for {
			g, err := b.next()
			if err != nil || g.first == fin|opClose && g.payload != "\x03\xe9going away" {
				t.Fatalf("the backend got %v, %v", g, err)
			}
			if g.first == fin|opClose {
				break
			}
		}
		if s := r.wantLimit(c, b, session.RateLimited, session.MessagesPerSecond, session.Client); s.From[session.Client].Messages > 40 {
			t.Errorf("%d messages passed", s.From[session.Client].Messages)
		}
	}
	// Bytes: at the end of the frame, if that comes soon.
	r := newFixture(t, e, quick, relay.Limits{BytesPerSecond: 100_000, CloseOnExcess: true})
	c, b := r.open()
	for range 30 {
		c.send(c.frame(fin|2, string(make([]byte, 10_000))))
	}
	c.want(fin|opClose, "\x03\xf0rate limit exceeded")
	b.count(9)
	for {
		if g, err := b.next(); err != nil {
			t.Fatalf("the backend got no Close: %v", err)
		} else if g.first == fin|opClose {
			break
		}
	}
	r.wantLimit(c, b, session.RateLimited, session.BytesPerSecond, session.Client)

	c, b = r.open()
	go c.Write(c.frame(fin|2, string(make([]byte, 10<<20))))
	c.want(fin|opClose, "\x03\xf0rate limit exceeded")
	b.wantCut()
	r.wantLimit(c, b, session.RateLimited, session.BytesPerSecond, session.Client)
}

// flood sends as fast as the other side takes it, until the connection ends.
func (p *peer) flood() (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		f := p.frame(fin|2, string(make([]byte, 60_000)))
		for {
			if _, err := p.Write(f); err != nil {
				return
			}
		}
	}()
	return done
}

// testSlowConsumer: a side that takes nothing ends the session after a while, even if it
// sends all the time. It gets a Close behind what waits for it, if it reads that soon;
// the other side gets one at once.
func testSlowConsumer(t *testing.T, e engine) {
	for _, slow := range sides {
		for _, reads := range []bool{false, true} {
			r := newFixture(t, e, quick, relay.Limits{SlowConsumer: time.Second})
			p, q := r.both(slow)
			stop := make(chan struct{})
			go func() { // it is not silent
				for {
					select {
					case <-stop:
						return
					case <-time.After(50 * time.Millisecond):
						p.Write(p.frame(fin|opText, "I am here"))
					}
				}
			}()
			done := q.flood()
			other := "\x03\xe9client too slow"
			if slow == session.Backend {
				other = "\x03\xf5server too slow"
			}
			for {
				g, err := q.next()
				if err != nil {
					t.Fatalf("the other side of a slow %s gets %v", slow, err)
				}
				if g.first == fin|opClose {
					if g.payload != other {
						t.Errorf("the other side of a slow %s gets %v", slow, g)
					}
					break
				}
			}
			close(stop)
			if reads {
				last, err := got{}, error(nil)
				for g := (got{}); err == nil; g, err = p.next() {
					last = g
				}
				// A Close can only follow a whole frame.
				if last.first == fin|opClose && last.payload != "\x03\xf0too slow" {
					t.Errorf("a slow %s gets %v", slow, last)
				}
			}
			c, b := p, q
			if slow == session.Backend {
				c, b = q, p
			}
			r.wantLimit(c, b, session.SlowConsumer, session.SlowConsumerTimeout, slow)
			<-done
		}
	}
}

// testSlowInTime: a side may be slow for as long as it likes, if it takes in time what
// is kept for it.
func testSlowInTime(t *testing.T, e engine) {
	for _, slow := range sides {
		r := newFixture(t, e, quick, relay.Limits{SlowConsumer: patience})
		p, q := r.both(slow)
		const frames, size = 100, 100_000
		go func() {
			for range frames {
				q.send(q.frame(fin|2, string(make([]byte, size))))
			}
		}()
		p.SetReadBuffer(64 << 10)
		go func() {
			for range 10 {
				time.Sleep(50 * time.Millisecond)
				io.CopyN(io.Discard, p, 100_000)
			}
			io.Copy(io.Discard, p)
		}()
		r.until("all came, and nothing is kept", func() bool {
			return r.onlySession().From[slow.Other()].Messages == frames && r.engine.Backlog() == 0
		})
		p.TCPConn.Close()
		q.TCPConn.Close()
		r.endAny()
	}
}

// testSlowMoved: a backend that takes nothing is lost, if another one can take its
// place.
func testSlowMoved(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{SlowConsumer: 2 * time.Second})
	c, b := r.open()
	through(c, b, "before")
	done := c.flood()
	b2 := to.accept()
	came := make(chan error, 1)
	go func() { // what was on its way to the old one is lost, and then messages come whole
		for i := 0; ; i++ {
			g, err := b2.next()
			if err == nil && (g.first != fin|2 || len(g.payload) != 60_000) {
				err = fmt.Errorf("%#x with %d bytes", g.first, len(g.payload))
			}
			if i == 50 || err != nil && i < 50 {
				came <- err
			}
			if err != nil {
				return
			}
		}
	}()
	r.moved(session.Loss, 8, nil)
	if err := <-came; err != nil {
		t.Errorf("the new backend got %v", err)
	}
	c.TCPConn.Close()
	b.TCPConn.Close()
	r.endAny()
	<-done
}

// testOpaqueBudget: of the limits, those of bytes and of memory hold for opaque bytes,
// too.
func testOpaqueBudget(t *testing.T, e engine) {
	limits := relay.Limits{MaxMessage: 1, MessagesPerSecond: 1, BytesPerSecond: 10_000, SlowConsumer: time.Millisecond}
	r := newOpaque(t, e, quick, limits)
	c, b := r.open()
	sent := bytes.Repeat([]byte("no frame "), 2500)
	began := time.Now()
	c.send(sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(b.r, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came, %v", len(got), err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("%d bytes took %v", len(sent), took)
	}
	c.TCPConn.Close()
	b.TCPConn.Close()
	r.endAny()

	limits.CloseOnExcess = true
	r = newOpaque(t, e, quick, limits)
	c, b = r.open()
	done := c.flood()
	if n, err := io.Copy(io.Discard, b.r); n > 30_000 || err != nil {
		t.Errorf("%d bytes came, %v", n, err)
	}
	r.wantLimit(c, b, session.RateLimited, session.BytesPerSecond, session.Client)
	<-done

	r = newOpaque(t, e, quick, relay.Limits{})
	r.engine.Tune(relay.Tuning{CloseTimeout: patience, Backlog: 1})
	f := flooding{r: r}
	r.until("a session ends", func() bool {
		f.more()
		select {
		case s := <-r.ends:
			if s.Cause != session.SlowConsumer || s.Limit != session.BacklogMemory {
				t.Errorf("ended with %s by %s", s.Cause, s.Limit)
			}
			return true
		default:
			return false
		}
	})
	r.engine.Abort(session.Shutdown)
	f.Wait()
}
