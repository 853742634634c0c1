package relay_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// large are payload sizes around the limits of reading and splicing.
var large = []int{0, 100, 4 << 10, 32 << 10, 64<<10 - 14, 64 << 10, 96 << 10, 96<<10 + 1, 256 << 10, 300_000, 1 << 20}

// speech is frames as side sends them, many of them large, with pings in between.
func speech(rnd *rand.Rand, side session.Side, total int) (stream []byte, messages uint64) {
	masked := side == session.Client
	some := func() []byte { return noise(rnd, large[rnd.IntN(len(large))]) }
	for len(stream) < total {
		op := byte(2)
		for range rnd.IntN(3) {
			stream = append(stream, wire(op, masked, some())...)
			op = 0
		}
		stream = append(stream, wire(fin|op, masked, some())...)
		if messages++; rnd.IntN(3) == 0 {
			stream = append(stream, wire(fin|opPing, masked, []byte("ping"))...)
		}
	}
	return stream, messages
}

// taste reads want from p, in pieces of random size.
func taste(p *peer, rnd *rand.Rand, want []byte) {
	most := 5_000 << (2 * rnd.IntN(4))
	pause := time.Duration(rnd.IntN(3)) * 100 * time.Microsecond
	buf := make([]byte, most)
	for at := 0; at < len(want); {
		n, err := p.r.Read(buf[:min(most, len(want)-at)])
		if err != nil || !bytes.Equal(buf[:n], want[at:at+n]) {
			p.t.Errorf("the %s, at %d of %d: %v, or other bytes", p.side, at, len(want), err)
			return
		}
		if at += n; rnd.IntN(10) == 0 {
			time.Sleep(pause)
		}
	}
}

// Large frames come unchanged, in order and once, both ways at the same time, to
// readers of all speeds. Every byte and message is counted.
func TestLargeFrames(t *testing.T) {
	t.Parallel()
	r := newFixture(t, epoll(t), quick, relay.Limits{})
	for seed := range uint64(8) {
		c, b := r.open()
		rnd := rand.New(rand.NewPCG(seed, 2))
		var streams [2][]byte
		var want [2]session.Traffic
		for _, s := range sides {
			streams[s], want[s].Messages = speech(rnd, s, 2<<20)
			want[s].Bytes = uint64(len(streams[s]))
		}
		var work sync.WaitGroup
		for s, p := range []*peer{c, b} {
			if seed%2 == uint64(s) {
				p.SetReadBuffer(64 << 10)
			}
			rnd := rand.New(rand.NewPCG(seed, uint64(s)))
			piece := 1000 << (4 * rnd.IntN(4))
			work.Go(func() {
				for rest := streams[s]; len(rest) > 0; {
					n := min(piece, len(rest))
					p.send(rest[:n])
					rest = rest[n:]
				}
			})
			work.Go(func() { taste(p, rnd, streams[s^1]) })
		}
		work.Wait()
		if s := r.onlySession(); s.From != want {
			t.Errorf("seed %d: counted %+v, want %+v", seed, s.From, want)
		}
		c.close(1000)
		b.wantClose(1000)
		b.close(1000)
		c.wantClose(1000)
		b.TCPConn.Close()
		c.wantEnd()
		r.end(session.ClientClosed, 1000)
	}
}

// A Close follows a large message and comes after all of it, however slowly that is
// read.
func TestCloseBehindLargeFrame(t *testing.T) {
	t.Parallel()
	for _, from := range sides {
		r := newFixture(t, epoll(t), quick, relay.Limits{})
		source, sink := r.both(from)
		sink.SetReadBuffer(64 << 10)
		text := string(noise(rand.New(rand.NewPCG(1, 1)), 3<<20))
		go func() {
			source.send(source.frame(fin|2, text), source.frame(fin|opClose, "\x0f\xa3"))
		}()
		time.Sleep(50 * time.Millisecond) // so that much waits
		if g, err := sink.next(); err != nil || g.first != fin|2 || g.payload != text {
			t.Fatalf("the message from the %s came as %#x of %d bytes (%v)", from, g.first, len(g.payload), err)
		}
		sink.wantClose(4003)
		sink.close(4003)
		sink.TCPConn.Close()
		source.wantClose(4003)
		source.TCPConn.Close()
		r.end(closed(from), 4003)
	}
}

// Our Close waits for the end of a large frame.
func TestRequestInLargeFrame(t *testing.T) {
	t.Parallel()
	r := newFixture(t, epoll(t), relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	text := string(noise(rand.New(rand.NewPCG(1, 2)), 2<<20))
	came := make(chan got)
	go func() {
		g, err := c.next()
		if err != nil {
			t.Error(err)
		}
		came <- g
	}()
	f := b.frame(fin|2, text)
	b.send(f[:1<<20])
	r.request(shutdown, 1)
	r.until("the request has come", func() bool { return r.onlySession().Cause == session.Shutdown })
	b.send(f[1<<20:], b.frame(fin|2, "no more"))
	if g := <-came; g.first != fin|2 || g.payload != text {
		t.Errorf("the client got %#x of %d bytes, or other ones", g.first, len(g.payload))
	}
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.Shutdown, 1001)
}

// Either side is lost in the middle of a large frame, in every way, while the other
// one reads or doesn't.
func TestLostInLargeFrame(t *testing.T) {
	const size, sent, read = 3 << 20, 2 << 20, 1 << 20
	payload := noise(rand.New(rand.NewPCG(1, 3)), size)
	frames := [2][]byte{wire(fin|2, true, payload), wire(fin|2, false, payload)}
	for n := range 16 {
		from, goes, reset, reads := sides[n&1], sides[n>>1&1], n>>2&1 == 1, n>>3&1 == 1
		t.Run(fmt.Sprintf("from the %s, the %s goes, reset %t, read %t", from, goes, reset, reads), func(t *testing.T) {
			t.Parallel() // the other side is waited for
			r := newFixture(t, epoll(t), quick, relay.Limits{})
			source, sink := r.both(from)
			sink.SetReadBuffer(64 << 10)
			var work sync.WaitGroup
			work.Go(func() { source.Write(frames[from][:sent]) }) // may fail, since the other side is lost
			came := 0
			if reads {
				k, err := io.ReadFull(sink.r, make([]byte, read))
				if came = k; err != nil {
					t.Errorf("after %d bytes: %v", k, err)
				}
			} else {
				time.Sleep(5 * time.Millisecond)
			}
			p, q := source, sink
			if goes != from {
				p, q = sink, source
			}
			if reset {
				p.reset()
			} else {
				p.TCPConn.Close()
			}
			work.Go(func() { io.Copy(io.Discard, q) })
			s := r.endAny()
			if s.Cause != lost(goes) && s.Cause != lost(goes.Other()) {
				t.Errorf("ended with %s", s.Cause)
			}
			if got := s.From[from]; got.Messages != 0 || got.Bytes < uint64(came) || got.Bytes > sent {
				t.Errorf("counted %+v, and %d bytes came", got, came)
			}
			q.TCPConn.Close()
			work.Wait()
		})
	}
}

// Everything that a side sent before its end comes to the other one.
func TestHalfCloseInLargeFrame(t *testing.T) {
	t.Parallel()
	r := newFixture(t, epoll(t), relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	b.SetReadBuffer(64 << 10)
	f := c.frame(fin|2, string(noise(rand.New(rand.NewPCG(1, 4)), 3<<20)))
	f = f[:len(f)-1]
	go func() {
		c.send(f)
		c.CloseWrite()
	}()
	came, err := io.ReadAll(b.r)
	if err != nil || !bytes.Equal(came, f) {
		t.Errorf("%d bytes of %d came, %v", len(came), len(f), err)
	}
	b.TCPConn.Close()
	if s := r.end(session.ClientLost, 0); s.From[session.Client].Bytes != uint64(len(f)) {
		t.Errorf("counted %+v", s.From)
	}
}
