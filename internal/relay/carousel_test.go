package relay_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// numbered is a backend that checks and answers each message, sends messages of its
// own, and answers a Close after its last one. It records how many messages of its
// own it has sent on each connection.
type numbered struct {
	t     *testing.T
	tls   speaksTLS
	conns atomic.Int64
	sent  sync.Map // from the number of a connection to how many messages of its own it has sent
	work  sync.WaitGroup
	quiet time.Duration // between two messages of its own
}

func (n *numbered) serve(ln net.Listener) {
	n.work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n.work.Go(func() { n.talk(c.(*net.TCPConn), n.conns.Add(1)) })
		}
	})
}

// chunks writes a text message in one frame or as fragments, in one write or
// several.
func (p *peer) chunks(text string, rnd *rand.Rand) error {
	var wire []byte
	op := byte(opText)
	for rnd.IntN(3) == 0 && len(text) > 1 {
		at := 1 + rnd.IntN(len(text)-1)
		wire = append(wire, p.frame(op, text[:at])...)
		if text, op = text[at:], 0; rnd.IntN(4) == 0 {
			wire = append(wire, p.frame(fin|opPing, "beat")...)
		}
	}
	wire = append(wire, p.frame(fin|op, text)...)
	if rnd.IntN(3) == 0 {
		at := rnd.IntN(len(wire))
		if _, err := p.Write(wire[:at]); err != nil {
			return err
		}
		if wire = wire[at:]; rnd.IntN(2) == 0 {
			time.Sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond)
		}
	}
	_, err := p.Write(wire)
	return err
}

// sender lets one goroutine at a time write to a connection.
type sender struct {
	sync.Mutex      // guards the following
	closed     bool // a Close was sent: nothing may follow
}

// message reads a message and joins its fragments. It answers pings and ignores
// pongs. A Close is returned as a message.
func (p *peer) message(write *sender) (text string, closed bool, err error) {
	var b strings.Builder
	for {
		g, err := p.next()
		switch {
		case err != nil:
			return "", false, err
		case g.first == fin|opClose:
			return g.payload, true, nil
		case g.first == fin|opPong:
		case g.first == fin|opPing:
			write.Lock()
			if !write.closed {
				p.Write(p.frame(fin|opPong, g.payload))
			}
			write.Unlock()
		default:
			b.WriteString(g.payload)
			if g.first&fin != 0 {
				return b.String(), false, nil
			}
		}
	}
}

// padding is the end of a message. Its size depends on the message's number; some
// are so large that they are spliced.
func padding(number int) string {
	switch {
	case number%97 == 0:
		return strings.Repeat("x", 150_000)
	case number%13 == 0:
		return strings.Repeat("y", 5_000)
	}
	return strings.Repeat("z", number%50)
}

// talk answers "c <session> <number> ..." with "a <connection> <number> ...".
func (n *numbered) talk(c *net.TCPConn, id int64) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * patience))
	p := &peer{TCPConn: c, t: n.t, side: session.Backend}
	p.r = bufio.NewReader(p)
	if n.tls[session.Backend] {
		p.tls = tls.Server(c, tlsFor(n.t).peerServer)
		if p.tls.Handshake() != nil {
			return // the search was given up
		}
	}
	rnd := rand.New(rand.NewPCG(uint64(id), 1))
	var write sender
	var sent atomic.Int64
	stop := make(chan struct{})
	var own sync.WaitGroup
	own.Go(func() {
		rnd := rand.New(rand.NewPCG(uint64(id), 2))
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(n.quiet):
			}
			write.Lock()
			err := p.chunks(fmt.Sprintf("s %d %d %s", id, i, padding(i)), rnd)
			write.Unlock()
			if err != nil {
				return
			}
			sent.Add(1)
		}
	})
	last := -1
	for {
		text, closed, err := p.message(&write)
		if err != nil {
			close(stop)
			own.Wait()
			return
		}
		if closed {
			close(stop)
			own.Wait()
			n.sent.Store(id, sent.Load())
			write.Lock()
			p.Write(p.frame(fin|opClose, text))
			write.Unlock()
			return
		}
		f := strings.SplitN(text, " ", 4)
		number, err := strconv.Atoi(f[2])
		if err != nil || last >= 0 && number != last+1 || f[3] != padding(number) {
			n.t.Errorf("backend connection %d got %.30q after %d", id, text, last)
		}
		last = number
		write.Lock()
		err = p.chunks(fmt.Sprintf("a %d %d %s", id, number, f[3]), rnd)
		write.Unlock()
		if err != nil {
			n.t.Errorf("backend connection %d cannot answer: %v", id, err)
		}
	}
}

// converse is a client that sends numbered messages until stop. It returns when all
// of them have been answered, once and in order, and everything that each backend
// sent unasked has come once and in order.
func (n *numbered) converse(p *peer, name int, stop <-chan struct{}) (messages int, err error) {
	var write sender
	var sent atomic.Int64
	writer := make(chan error, 1)
	go func() {
		rnd := rand.New(rand.NewPCG(uint64(name), 3))
		for i := 0; ; i++ {
			select {
			case <-stop:
				write.Lock()
				write.closed = true
				p.Write(p.frame(fin|opClose, "\x03\xe8"))
				write.Unlock()
				writer <- nil
				return
			default:
			}
			write.Lock()
			err := p.chunks(fmt.Sprintf("c %d %d %s", name, i, padding(i)), rnd)
			write.Unlock()
			if err != nil {
				writer <- err
				return
			}
			sent.Add(1)
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Microsecond)
		}
	}()
	answered := 0
	came := map[int]int{} // from the number of a connection to how many messages
	at := 0               // the connection of the last message
	for {
		text, closed, err := p.message(&write)
		if err != nil {
			return answered, err
		}
		if closed {
			break
		}
		f := strings.SplitN(text, " ", 4)
		conn, _ := strconv.Atoi(f[1])
		number, err := strconv.Atoi(f[2])
		if err != nil || len(f) != 4 || f[3] != padding(number) {
			return answered, fmt.Errorf("%.40q is no message", text)
		}
		if _, known := came[conn]; !known {
			came[conn] = 0
		} else if conn != at {
			return answered, fmt.Errorf("connection %d speaks after %d", conn, at)
		}
		at = conn
		want := came[conn]
		if f[0] == "a" {
			want = answered
			answered++
		} else {
			came[conn]++
		}
		if number != want {
			return answered, fmt.Errorf("%.40q has come, not %d", text, want)
		}
	}
	if err := <-writer; err != nil {
		return answered, err
	}
	if int64(answered) != sent.Load() {
		return answered, fmt.Errorf("%d answers to %d messages", answered, sent.Load())
	}
	n.work.Wait() // sent is complete
	for conn, got := range came {
		if all, ok := n.sent.Load(int64(conn)); !ok || all.(int64) != int64(got) {
			return answered, fmt.Errorf("%d of %v messages of connection %d have come", got, all, conn)
		}
	}
	return answered, nil
}

// testMoveNumbered: numbered messages go both ways without pause while their
// sessions are moved repeatedly. None is lost, duplicated or reordered.
func testMoveNumbered(t *testing.T, e engine) { moveNumbered(t, e, 12, relay.Limits{}) }

// testMoveThrottled is the same with clients that always send more than they may.
func testMoveThrottled(t *testing.T, e engine) {
	moveNumbered(t, e, 4, relay.Limits{MaxMessage: 1 << 20, MessagesPerSecond: 500, BytesPerSecond: 4 << 20, SlowConsumer: patience})
}

func moveNumbered(t *testing.T, e engine, rounds int, limits relay.Limits) {
	const sessions = 12
	limits.KeepaliveInterval, limits.KeepaliveTimeout = time.Second, patience
	r, first := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, limits)
	n := &numbered{t: t, tls: e.tls, quiet: time.Millisecond}
	stations := []*station{first, r.station(9), r.station(10)}
	for _, s := range stations {
		n.serve(s)
	}
	n.serve(r.backend)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var messages atomic.Int64
	for i := range sessions {
		p := r.dial()
		p.SetDeadline(time.Now().Add(2 * patience))
		if i%3 == 0 {
			p.SetReadBuffer(32 << 10)
		}
		clients.Go(func() {
			k, err := n.converse(p, i, stop)
			if messages.Add(int64(k)); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	r.until("all are there", func() bool { return r.engine.Active() == sessions })
	moves := 0
	for round := range rounds {
		r.reattacher.sendTo(stations[round%len(stations)])
		o := moveOnly()
		if round%2 == 0 {
			o = drain
		}
		o.Spread = 100 * time.Millisecond
		for range r.engine.MoveSessions(o) {
			if m := r.nextMove(); m.err != nil {
				t.Errorf("not moved: %v", m.err)
			}
			moves++
		}
	}
	close(stop)
	for _, s := range stations {
		s.TCPListener.Close()
	}
	r.backend.Close()
	clients.Wait()
	for range sessions {
		r.end(session.ClientClosed, 1000)
	}
	if moves != sessions*rounds {
		t.Errorf("%d moves, want %d", moves, sessions*rounds)
	}
	t.Logf("%d messages and their answers, %d moves", messages.Load(), moves)
}

// testMoveFlood: a client that sends without pause isn't read while it is paused,
// so the bytes that wait are bounded.
func testMoveFlood(t *testing.T, e engine) {
	r, to := newMoveFixture(t, e, quick, relay.Limits{})
	r.reattacher.onReattach(r.reattacher.dialAndRead)
	c, b := r.open()
	var sent atomic.Int64
	stop := make(chan struct{})
	flood := make(chan []byte, 1)
	go func() {
		sum := newGauge()
		for i := 0; ; i++ {
			f := c.frame(fin|2, string(bytes.Repeat([]byte{byte(i)}, 1000+i%5000)))
			select {
			case <-stop:
				flood <- sum.Sum(nil)
				return
			default:
			}
			c.send(f)
			sum.Write(f)
			sent.Add(int64(len(f)))
		}
	}()
	got := newGauge()
	read := func(p *peer) {
		for {
			g, err := p.next()
			if err != nil || g.first == fin|opClose {
				p.send(p.frame(fin|opClose, ""))
				return
			}
			if g.first != fin|opPing { // ours, before our Close
				got.Write(g.raw)
			}
		}
	}
	old := make(chan struct{})
	go func() { defer close(old); read(b) }()
	r.until("the flood comes", func() bool { return sent.Load() > 1<<20 })
	r.request(drain, 1)
	b2 := to.accept()
	from := func() uint64 { return r.onlySession().From[session.Client].Bytes }
	time.Sleep(50 * time.Millisecond)
	before := from()
	// The kernel's buffers fill up, and the balancer reads nothing.
	r.until("the client can't write", func() bool {
		n := sent.Load()
		time.Sleep(300 * time.Millisecond)
		return sent.Load() == n
	})
	if after := from(); after != before {
		t.Errorf("%d bytes were passed on while the client was paused", after-before)
	}
	b2.send([]byte("x"))
	<-old
	done := make(chan struct{})
	go func() { defer close(done); read(b2) }()
	r.moved(session.Drain, 8, nil)
	n := sent.Load()
	r.until("it goes on", func() bool { return sent.Load() > n+1<<20 })
	close(stop)
	want := <-flood
	c.close(1000)
	<-done
	if !bytes.Equal(got.Sum(nil), want) || int64(got.n) != sent.Load() {
		t.Errorf("%d bytes came of %d, or other ones", got.n, sent.Load())
	}
}

// testMoveLarge: a session is moved inside a large message of either side.
func testMoveLarge(t *testing.T, e engine) {
	for _, from := range sides {
		r, to := newMoveFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
		source, sink := r.both(from)
		sink.SetReadBuffer(32 << 10)
		text := string(noise(rand.New(rand.NewPCG(1, 1)), 5<<20))
		f := source.frame(fin|2, text)
		next := source.frame(fin|opText, "next")
		go source.send(f[:3<<20])
		head := make([]byte, 1<<20)
		if _, err := io.ReadFull(sink.r, head); err != nil {
			t.Fatal(err)
		}
		r.request(drain, 1)
		time.Sleep(100 * time.Millisecond)
		var b2 *peer
		if from == session.Backend {
			b2 = to.accept()
			b2.text("new")
		}
		go source.send(f[3<<20:], next)
		rest := make([]byte, len(f)-len(head))
		if _, err := io.ReadFull(sink.r, rest); err != nil || !bytes.Equal(append(head, rest...), f) {
			t.Fatalf("%v, or other bytes", err)
		}
		if from == session.Client {
			b2 = to.accept()
			sink.answerClose()
			b2.wantText("next")
			r.moved(session.Drain, 8, nil)
			r.finish(source, b2)
			continue
		}
		sink.wantText("next")
		source.answerClose()
		sink.wantText("new")
		r.moved(session.Drain, 8, nil)
		r.finish(sink, b2)
	}
}

// After 10,000 moves, of which some fail, no goroutines, descriptors or memory are
// left.
func TestManyMoves(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { manyMoves(t, e, 100, 50) })
	}
}

func manyMoves(t *testing.T, e engine, sessions, rounds int) {
	before, goroutines := descriptors(), runtime.NumGoroutine()
	m := &carousel{ended: make(chan error, sessions)}
	engine, err := e.make(quick, slog.New(slog.NewTextHandler(complaints{t}, nil)), func(session.Summary) { m.ends.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	m.engine = engine
	engine.SetReattacher(m)
	n := &numbered{t: t, quiet: time.Hour}
	for range m.to {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				n.work.Go(func() { echo(c, 1) })
			}
		}()
		m.lns = append(m.lns, ln.Addr().(*net.TCPAddr))
		defer ln.Close()
	}
	ln, err := engine.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		b, err := engine.Dial(c, hostport.At(m.lns[0].AddrPort()), time.Now().Add(patience))
		if err != nil {
			t.Error(err)
			return
		}
		s := relay.Start{Movable: true, OnLoss: true, Info: session.Info{ID: session.NewID(), Started: time.Now(), Backend: 1}}
		if err := engine.Start(c, b, s); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var clients []*peer
	for range sessions {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, newPeer(t, session.Client, c))
	}
	for end := time.Now().Add(patience); engine.Active() < sessions && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	failed := 0
	for round := range rounds {
		if k := engine.MoveSessions(moveOnly()); k != sessions {
			t.Fatalf("round %d: %d sessions", round, k)
		}
		for range sessions {
			if err := <-m.ended; err != nil {
				failed++
			}
		}
	}
	if want := sessions * rounds / 5; failed < want-1 || failed > want+1 {
		t.Errorf("%d moves failed, %d should", failed, want)
	}
	for i, c := range clients {
		c.text("still " + strconv.Itoa(i))
		c.wantText("still " + strconv.Itoa(i))
		c.TCPConn.Close()
	}
	for end := time.Now().Add(patience); engine.Active() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	ln.Close()
	engine.Close()
	n.work.Wait()
	settled := func() bool {
		return descriptors() <= before+len(m.lns) && runtime.NumGoroutine() <= goroutines+len(m.lns)
	}
	for end := time.Now().Add(patience); !settled() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !settled() {
		t.Errorf("%d descriptors before, %d after; %d goroutines before, %d after", before, descriptors(), goroutines, runtime.NumGoroutine())
	}
}

// carousel is a Reattacher that sends each session to the next backend, and fails
// every fifth.
type carousel struct {
	engine relay.Engine
	to     [3]struct{}
	lns    []*net.TCPAddr
	turns  atomic.Int64
	ends   atomic.Int64
	ended  chan error
}

func (m *carousel) Reserve(relay.ReattachRequest) (time.Duration, error) { return 0, nil }

func (m *carousel) Reattach(near transport.Conn, mv relay.ReattachRequest) (relay.NewBackend, error) {
	n := m.turns.Add(1)
	c, err := m.engine.Dial(near, hostport.At(m.lns[n%3].AddrPort()), mv.Deadline)
	if err == nil && n%5 == 0 {
		c.Close()
		err = errNoOther
	}
	return relay.NewBackend{Conn: c, ID: uint32(n%3) + 1}, err
}

func (m *carousel) Swapped(relay.ReattachRequest, uint32) {}

func (m *carousel) Moved(_ relay.ReattachRequest, _ uint32, _ time.Duration, err error) {
	m.ended <- err
}
