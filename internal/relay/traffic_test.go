package relay_test

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

var sides = []session.Side{session.Client, session.Backend}

// chatter is frames as side sends them: messages of all sizes, in fragments,
// with control frames among them.
func chatter(rnd *rand.Rand, masked bool, total int) (stream []byte, messages uint64) {
	payload := make([]byte, 200_000)
	for i := range payload {
		payload[i] = byte(rnd.Uint32())
	}
	sizes := []int{0, 1, 20, 125, 126, 1000, 5000, 65535, 65536, len(payload)}
	some := func() []byte { return payload[:rnd.IntN(1+sizes[rnd.IntN(len(sizes))])] }
	for len(stream) < total {
		op := byte(opText)
		for range rnd.IntN(3) {
			stream = append(stream, wire(op, masked, some())...)
			if op = 0; rnd.IntN(2) == 0 {
				stream = append(stream, wire(fin|opPing, masked, payload[:rnd.IntN(126)])...)
			}
		}
		stream = append(stream, wire(fin|op, masked, some())...)
		if messages++; rnd.IntN(4) == 0 {
			stream = append(stream, wire(fin|opPong, masked, payload[:rnd.IntN(126)])...)
		}
	}
	return stream, messages
}

// sendCut sends a stream in pieces, the smaller the scale. Behind many of them, the rest
// is one piece: a million small writes would take minutes on a slow machine.
func (p *peer) sendCut(stream []byte, cuts *rand.Rand, scale int) {
	for pieces := 0; len(stream) > 0; pieces++ {
		n := len(stream)
		if pieces < 2000 {
			n = min(n, 1+cuts.IntN(scale)*(1+cuts.IntN(200)))
		}
		p.send(stream[:n])
		stream = stream[n:]
	}
}

func testCuts(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	for seed := range uint64(8) {
		c, b := r.open()
		rnd := rand.New(rand.NewPCG(seed, 1))
		var streams [2][]byte
		var messages [2]uint64
		for _, s := range sides {
			streams[s], messages[s] = chatter(rnd, s == session.Client, 300_000)
		}
		var work sync.WaitGroup
		for s, p := range []*peer{c, b} {
			cuts := rand.New(rand.NewPCG(seed, uint64(s)))
			scale := 1 + cuts.IntN(1<<(2*seed+2))
			work.Go(func() { p.sendCut(streams[s], cuts, scale) })
			work.Go(func() {
				want := streams[s^1]
				came := make([]byte, len(want))
				if n, err := io.ReadFull(p.r, came); err != nil || !bytes.Equal(came, want) {
					t.Errorf("seed %d: of %d bytes to the %s came %d (%v), equal %v", seed, len(want), p.side, n, err, bytes.Equal(came, want))
				}
			})
		}
		work.Wait()
		c.close(1000)
		b.wantClose(1000)
		b.close(1000)
		c.wantClose(1000)
		b.Close()
		c.wantEnd()
		sum := r.end(session.ClientClosed, 1000)
		for _, s := range sides {
			closing := uint64(4)
			if s == session.Client {
				closing = 8
			}
			want := session.Traffic{Messages: messages[s], Bytes: uint64(len(streams[s])) + closing}
			if sum.From[s] != want {
				t.Errorf("seed %d: from the %s %+v, want %+v", seed, s, sum.From[s], want)
			}
		}
	}
}

// testEarly: both sides send frames right after their handshakes, so that some come
// with the handshake and some are still in the socket.
func testEarly(t *testing.T, e engine) {
	const preface = "GET / or 101"
	r := newFixtureWithPreface(t, e, quick, relay.Limits{}, len(preface))
	for _, early := range []int64{0, 1, 9, 20} {
		r.early.Store(early)
		c, b := r.open()
		var streams [2][]byte
		for i, p := range []*peer{c, b} {
			streams[i] = bytes.Join([][]byte{p.frame(opText, "one"), p.frame(fin|opPing, "p"), p.frame(fin, "two"), p.frame(fin|opText, "three")}, nil)
			p.send([]byte(preface), streams[i])
		}
		for i, p := range []*peer{c, b} {
			came := make([]byte, len(streams[i^1]))
			if _, err := io.ReadFull(p.r, came); err != nil || !bytes.Equal(came, streams[i^1]) {
				t.Fatalf("%d early bytes: to the %s came %x (%v), want %x", early, p.side, came, err, streams[i^1])
			}
		}
		if s := r.onlySession(); s.From[0] != (session.Traffic{Messages: 2, Bytes: uint64(len(streams[0]))}) ||
			s.From[1] != (session.Traffic{Messages: 2, Bytes: uint64(len(streams[1]))}) {
			t.Errorf("%d early bytes: counted %+v", early, s.From)
		}
		c.TCPConn.Close()
		b.wantEnd()
		b.TCPConn.Close()
		r.end(session.ClientLost, 0)
	}
}

// gauge counts and hashes what passes through it.
type gauge struct {
	hash.Hash
	n int
}

func newGauge() *gauge { return &gauge{Hash: sha256.New()} }

func (g *gauge) Write(p []byte) (int, error) {
	g.n += len(p)
	return g.Hash.Write(p)
}

// testBackpressure: one side sends until nothing more is taken. Then everything is
// read.
func testBackpressure(t *testing.T, e engine) {
	const bound = 64 << 20 // more than the buffers of two sockets
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{})
		source, sink := r.both(from)
		source.SetWriteBuffer(64 << 10)
		sink.SetReadBuffer(64 << 10)
		f := source.frame(fin|2, string(make([]byte, 60_000)))
		sent := newGauge()
		var rest []byte
		for {
			source.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := source.Write(f)
			sent.Write(f[:n])
			if err != nil {
				rest = f[n:]
				break
			}
			if sent.n > bound {
				t.Fatalf("%d bytes from the %s were taken, and nobody reads", sent.n, from)
			}
		}
		if n := r.engine.Traffic()[from].Bytes; n > uint64(sent.n) {
			t.Errorf("counted %d bytes of %d", n, sent.n)
		}
		// The other direction goes on meanwhile.
		sink.text("hello")
		source.wantText("hello")
		source.SetWriteDeadline(time.Now().Add(patience))
		done := make(chan struct{})
		go func() { source.send(rest); close(done) }()
		sent.Write(rest)
		came := newGauge()
		if _, err := io.CopyN(came, sink.r, int64(sent.n)); err != nil || !bytes.Equal(came.Sum(nil), sent.Sum(nil)) {
			t.Errorf("from the %s: %d of %d bytes came (%v), unchanged %v", from, came.n, sent.n, err, bytes.Equal(came.Sum(nil), sent.Sum(nil)))
		}
		<-done
	}
}

// testFlood: both sides send without pause and read with pauses.
func testFlood(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	const total = 8 << 20
	var sent, came [2]*gauge
	var work sync.WaitGroup
	for i, p := range []*peer{c, b} {
		sent[i], came[i] = newGauge(), newGauge()
		p.SetReadBuffer(128 << 10)
		f := p.frame(fin|2, string(bytes.Repeat([]byte{byte(i), 1, 2}, 9000)))
		work.Go(func() {
			for sent[i].n < total {
				p.send(f)
				sent[i].Write(f)
			}
			p.CloseWrite()
		})
		work.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			buf := make([]byte, 256<<10)
			for {
				n, err := p.r.Read(buf[:1+rnd.IntN(len(buf))])
				came[i].Write(buf[:n])
				if err != nil {
					return
				}
				if rnd.IntN(50) == 0 {
					time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
				}
			}
		})
	}
	work.Wait()
	// If the first EOF was the backend's, the client got a Close.
	s := r.endAny()
	if got, want := came[session.Backend].n, sent[session.Client].n; got != want {
		t.Errorf("%d of %d bytes came to the backend", got, want)
	}
	if got, want := came[session.Client].n, sent[session.Backend].n; got < want {
		t.Errorf("%d of %d bytes came to the client", got, want)
	}
	if s.From[session.Client].Bytes != uint64(sent[session.Client].n) {
		t.Errorf("counted %+v", s.From)
	}
}

func testCounts(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	if s := r.onlySession(); s.Cause != session.None || s.From != [2]session.Traffic{} || s.Backend != 7 || s.Route != 9 ||
		s.Client.String() != c.LocalAddr().String() {
		t.Errorf("a fresh session is %+v", s)
	}
	c.text("a")
	b.wantText("a")
	c.send(c.frame(opText, "not "), c.frame(fin|opPing, "x"))
	b.want(opText, "not ")
	b.want(fin|opPing, "x")
	b.text("bb")
	b.text("ccc")
	c.wantText("bb")
	c.wantText("ccc")
	want := [2]session.Traffic{{Messages: 1, Bytes: 7 + 10 + 7}, {Messages: 2, Bytes: 4 + 5}}
	// Traffic may be updated a moment later.
	r.until("all is counted", func() bool { return r.engine.Traffic() == want })
	if s := r.onlySession(); s.From != want {
		t.Errorf("Each: %+v, want %+v", s.From, want)
	}
	if n := r.engine.Active(); n != 1 {
		t.Errorf("Active = %d, want 1", n)
	}
	// A second session adds to the sum and not to the first.
	c2, b2 := r.open()
	c2.text("d")
	b2.wantText("d")
	want[session.Client].Messages++
	want[session.Client].Bytes += 7
	r.until("the second is counted too", func() bool { return r.engine.Traffic() == want })
	if n := r.engine.Active(); n != 2 {
		t.Errorf("Active = %d, want 2", n)
	}
}
