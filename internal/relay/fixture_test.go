package relay_test

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// patience bounds every wait of a test.
const patience = testkit.Patience

// quick are Times that a test can wait for.
var quick = relay.Times{Linger: 2 * time.Second, Boundary: 2 * time.Second}

// fixture is an engine between clients and a backend that the test controls.
type fixture struct {
	t           *testing.T
	engine      relay.Engine
	tls         speaksTLS
	byteWise    bool   // peers with TLS write one byte at a time
	between     func() // called after each
	keyed       bool   // they can change keys
	limits      relay.Limits
	rules       frame.Rules
	preface     int          // bytes that the task reads of both sides as their handshake
	early       atomic.Int64 // how many more it reads and passes to Start
	greedy      bool         // it reads all that comes with the preface at once
	reattacher  *reattacher  // nil if sessions aren't movable
	onLoss      atomic.Bool
	control     bool // backends want notices
	opaque      bool // sessions are of opaque bytes
	moveTimeout atomic.Int64
	backendID   atomic.Uint32 // of sessions that begin
	tokenFor    atomic.Int64  // how long their clients' tokens are valid; 0 is for ever
	logs        atomic.Int64
	mayLog      atomic.Bool

	ends    chan session.Summary
	ln      transport.Listener
	backend *net.TCPListener
	opened  int // by open

	mu      sync.Mutex                                                // guards the following, and tls if it changes
	start   func(client, backend transport.Conn, s relay.Start) error // nil means the engine's
	started []session.Info
	ended   map[session.ID]session.Summary
}

func newFixture(t *testing.T, e engine, times relay.Times, limits relay.Limits) *fixture {
	t.Helper()
	return newFixtureWith(t, e, times, &fixture{limits: limits})
}

func newFixtureWithPreface(t *testing.T, e engine, times relay.Times, limits relay.Limits, preface int) *fixture {
	t.Helper()
	return newFixtureWith(t, e, times, &fixture{limits: limits, preface: preface})
}

func newFixtureWith(t *testing.T, e engine, times relay.Times, r *fixture) *fixture {
	t.Helper()
	r.backendID.Store(7)
	r.tls = e.tls
	r.t, r.ends, r.ended = t, make(chan session.Summary, 10_000), map[session.ID]session.Summary{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.backend = ln.(*net.TCPListener)
	r.engine, err = e.make(times, slog.New(slog.NewTextHandler(r, nil)), r.noteEnd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	if r.reattacher != nil {
		r.reattacher.r = r
		r.engine.SetReattacher(r.reattacher)
	}
	if r.ln, err = r.engine.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, r.serve); err != nil {
		t.Fatal(err)
	}
	return r
}

// complaints is a log that fails the test.
type complaints struct{ t *testing.T }

func (c complaints) Write(p []byte) (int, error) {
	c.t.Errorf("the engine logs: %s", p)
	return len(p), nil
}

// Write is the engine's log.
func (r *fixture) Write(p []byte) (int, error) {
	if r.logs.Add(1); r.mayLog.Load() {
		return len(p), nil
	}
	return complaints{r.t}.Write(p)
}

// close closes the engine and checks what must hold then.
func (r *fixture) close() {
	r.engine.Close()
	r.backend.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.started {
		if r.reattacher != nil {
			i.Backend = r.reattacher.at(i)
		}
		if s, ok := r.ended[i.ID]; !ok {
			r.t.Errorf("session %s never ended", i.ID)
		} else if s.Info.Backend != i.Backend || s.Info.Route != i.Route || s.Info.Client != i.Client || !s.Info.Started.Equal(i.Started) {
			r.t.Errorf("it began as %+v and ended as %+v", i, s.Info)
		} else if s.Cause == session.None {
			r.t.Errorf("session %s ended without a cause", i.ID)
		}
	}
	if len(r.ended) != len(r.started) {
		r.t.Errorf("%d sessions began, %d ended", len(r.started), len(r.ended))
	}
	if r.reattacher != nil {
		r.reattacher.check()
	}
	if n := r.engine.Active(); n != 0 {
		r.t.Errorf("a closed engine has %d sessions", n)
	}
}

func (r *fixture) noteEnd(s session.Summary) {
	r.mu.Lock()
	if _, twice := r.ended[s.ID]; twice {
		r.t.Errorf("session %s ended twice", s.ID)
	}
	r.ended[s.ID] = s
	r.mu.Unlock()
	if r.reattacher != nil {
		r.reattacher.sessionEnded(s)
	}
	r.ends <- s
}

// startBy makes start start sessions.
func (r *fixture) startBy(start func(client, backend transport.Conn, s relay.Start) error) {
	r.mu.Lock()
	r.start = start
	r.mu.Unlock()
}

// serve is the task of a connection. It does what the spine does, but without
// handshakes.
func (r *fixture) serve(c transport.Conn) {
	c, err := r.secure(c, session.Client)
	if err != nil {
		r.t.Errorf("TLS: %v", err)
		return
	}
	to := r.backend.Addr().(*net.TCPAddr).AddrPort()
	b, err := r.engine.Dial(c, hostport.At(to), time.Now().Add(patience))
	if err == nil {
		b, err = r.secure(b, session.Backend)
	}
	if err != nil {
		r.t.Errorf("dial: %v", err)
		return
	}
	s := relay.Start{Limits: r.limits, Rules: r.rules, Opaque: r.opaque}
	for i, conn := range []transport.Conn{c, b} {
		conn.SetDeadline(time.Now().Add(patience))
		buf := make([]byte, r.preface+int(r.early.Load()))
		read := io.ReadFull
		if r.greedy {
			buf, read = make([]byte, 4<<10), func(c io.Reader, p []byte) (int, error) { return c.Read(p) }
		}
		n, err := read(conn, buf)
		if err != nil {
			r.t.Errorf("read the %s's preface: %v", session.Side(i), err)
			return
		}
		buf = buf[:n]
		s.Early[i] = buf[r.preface:]
	}
	if d := time.Duration(r.tokenFor.Load()); d != 0 {
		s.TokenExpires = time.Now().Add(d)
	}
	s.Info = session.Info{ID: session.NewID(), Client: c.RemoteAddr(), Backend: r.backendID.Load(), Route: 9, Started: time.Now()}
	r.mu.Lock()
	r.started = append(r.started, s.Info)
	start := r.start
	r.mu.Unlock()
	if r.reattacher != nil {
		r.reattacher.take(s.Info.Backend)
		s.Control = r.control
		s.Movable, s.OnLoss, s.MoveTimeout = true, r.onLoss.Load(), time.Duration(r.moveTimeout.Load())
	}
	if start == nil {
		start = r.engine.Start
	}
	if err := start(c, b, s); err != nil {
		r.t.Errorf("start: %v", err)
	}
	for i := range s.Early { // not retained, says Start
		clear(s.Early[i])
	}
}

// dial opens a client's connection to the engine.
func (r *fixture) dial() *peer {
	r.t.Helper()
	c, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	return r.peer(session.Client, c)
}

func (r *fixture) accept() *peer {
	r.t.Helper()
	r.backend.SetDeadline(time.Now().Add(patience))
	b, err := r.backend.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.peer(session.Backend, b)
}

// open returns the two peers of a new session. Without a preface, the session is open
// when open returns.
func (r *fixture) open() (client, backend *peer) {
	r.t.Helper()
	client = r.dial()
	backend = r.accept()
	r.opened++
	if r.preface == 0 {
		r.until("the session is open", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.engine.Active()+len(r.ended) >= r.opened
		})
	}
	return client, backend
}

// both opens a session and returns its peers in the order of a direction.
func (r *fixture) both(from session.Side) (source, sink *peer) {
	r.t.Helper()
	c, b := r.open()
	if from == session.Client {
		return c, b
	}
	return b, c
}

func (r *fixture) until(what string, f func() bool) {
	r.t.Helper()
	testkit.Eventually(r.t, what, f)
}

// end waits for the end of a session and checks its cause and code.
func (r *fixture) end(cause session.Cause, code uint16) session.Summary {
	r.t.Helper()
	select {
	case s := <-r.ends:
		if s.Cause != cause || s.Code != code {
			r.t.Errorf("ended with %s and code %d, want %s and %d", s.Cause, s.Code, cause, code)
		}
		return s
	case <-time.After(patience):
		r.t.Fatalf("no session ended; want %s", cause)
		panic("unreachable")
	}
}

// onlySession is the summary of the only session.
func (r *fixture) onlySession() session.Summary {
	r.t.Helper()
	var all []session.Summary
	r.engine.Each(func(s session.Summary) { all = append(all, s) })
	if len(all) != 1 {
		r.t.Fatalf("Each lists %d sessions, want 1", len(all))
	}
	return all[0]
}
