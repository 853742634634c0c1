package relay_test

import (
	"io"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

var shutdown = relay.CloseRequest{Close: relay.Close{Cause: session.Shutdown, Code: relay.CodeGoingAway, Reason: relay.GoingAway}}

// carryOut makes a request of any type to the engine.
func carryOut(e relay.Engine, request any) int {
	switch q := request.(type) {
	case relay.CloseRequest:
		return e.CloseSessions(q)
	case relay.MoveRequest:
		return e.MoveSessions(q)
	}
	return e.Cancel(request.(relay.CancelRequest))
}

func (r *fixture) request(request any, want int) {
	r.t.Helper()
	if n := carryOut(r.engine, request); n != want {
		r.t.Errorf("%T is carried out on %d sessions, want %d", request, n, want)
	}
}

func testRequest(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	r.request(shutdown, 0)
	c, b := r.open()
	r.request(shutdown, 1)
	c.want(fin|opClose, "\x03\xe9going away")
	b.text("still")  // is not passed to the client
	c.text("before") // but this passes until the client's Close
	b.wantText("before")
	c.close(1001)
	b.wantClose(1001)
	b.close(1001)
	b.TCPConn.Close()
	c.wantEnd()
	s := r.end(session.Shutdown, relay.CodeGoingAway)
	if s.From[session.Client].Messages != 1 {
		t.Errorf("counted %+v", s.From)
	}
}

// testRequestInMessage: the Close waits for the end of a fragmented message that
// comes slowly, and follows it at once.
func testRequestInMessage(t *testing.T, e engine) {
	r := newFixture(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(opText, "once "))
	c.want(opText, "once ")
	r.request(shutdown, 1)
	r.until("the request has come", func() bool { return r.onlySession().Cause == session.Shutdown })
	b.send(b.frame(0, "upon "))
	c.want(0, "upon ")
	b.send(b.frame(fin|opPing, "p"))
	c.want(fin|opPing, "p")
	f := b.frame(fin, "a time")
	b.send(f[:3])
	b.send(f[3:], b.frame(fin|opText, "another"))
	c.want(fin, "a time")
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.Shutdown, 1001)
}

// testRequestForced: a message that doesn't end delays the Close by Times.Boundary.
// Then it is sent between two fragments.
func testRequestForced(t *testing.T, e engine) {
	r := newFixture(t, e, relay.Times{Linger: patience, Boundary: 500 * time.Millisecond}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(opText, "once "))
	c.want(opText, "once ")
	began := time.Now()
	r.request(shutdown, 1)
	c.wantClose(1001)
	if d := time.Since(began); d < 400*time.Millisecond {
		t.Errorf("the Close came after %v, inside a message", d)
	}
	c.close(1001)
	b.wantClose(1001)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.Shutdown, 1001)
}

func testRequestInFrame(t *testing.T, e engine) {
	r := newFixture(t, e, relay.Times{Linger: patience, Boundary: 500 * time.Millisecond}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(fin|opText, "never ending")[:6])
	if _, err := io.ReadFull(c.r, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	r.request(shutdown, 1)
	b.wantEnd()
	b.TCPConn.Close()
	c.wantCut()
	r.end(session.Shutdown, 0)
}

func testRequestSelect(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	c1, _ := r.open()
	r.backendID.Store(8)
	c2, _ := r.open()
	o := relay.CloseRequest{Selection: relay.OfBackend(7),
		Close: relay.Close{Cause: session.BackendRemoved, Code: relay.CodeServiceRestart, Reason: relay.BackendGone}}
	r.request(o, 1)
	c1.want(fin|opClose, "\x03\xf4server removed")
	r.request(o, 0) // it is closing already
	c2.quiet(100 * time.Millisecond)
	if n := r.engine.Active(); n != 2 {
		t.Errorf("Active = %d, want 2", n)
	}
	o.Backends = nil
	r.request(o, 1)
	c2.wantClose(1012)
	for range 2 {
		r.end(session.BackendRemoved, 1012)
	}
}

func testRequestSpread(t *testing.T, e engine) {
	const n = 12
	r := newFixture(t, e, quick, relay.Limits{})
	var at [n]time.Duration
	var clients [n]*peer
	for i := range clients {
		clients[i], _ = r.open()
	}
	o := shutdown
	o.Spread = 3 * time.Second
	began := time.Now()
	r.request(o, n)
	done := make(chan struct{})
	for i, c := range clients {
		go func() {
			c.next()
			at[i] = time.Since(began)
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	// The oldest are first. On a slow machine all may be late, but none is closed
	// before its turn, in ticks of 67 ms.
	const ticks = 200 * time.Millisecond
	for i, d := range at {
		if turn := o.Spread * time.Duration(i) / n; d < turn-ticks {
			t.Errorf("session %d was closed after %v, before its turn at %v: %v", i, d, turn, at)
		}
	}
	for range n {
		r.end(session.Shutdown, 1001)
	}
	// An earlier turn replaces a later one, except with SkipScheduled.
	c, _ := r.open()
	o.Spread = time.Hour
	r.open()
	r.request(o, 2)
	late := shutdown
	late.SkipScheduled = true
	r.request(late, 0)
	// The first session of a loop may have had its turn already.
	if n := r.engine.CloseSessions(shutdown); n < 1 || n > 2 {
		t.Errorf("CloseSessions = %d, want 1 or 2", n)
	}
	c.wantClose(1001)
	for range 2 {
		r.end(session.Shutdown, 1001)
	}
}

func testRequestUnanswered(t *testing.T, e engine) {
	// The client never answers. Its backend gets a Close too.
	r := newFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.request(shutdown, 1)
	c.wantClose(1001)
	b.wantClose(1001)
	b.close(1001)
	b.TCPConn.Close()
	r.end(session.Shutdown, 1001)

	// The backend never answers. Its client gets an answer nevertheless.
	c, b = r.open()
	r.request(shutdown, 1)
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	r.end(session.Shutdown, 1001)
	c.wantEnd()

	// Neither answers.
	c, b = r.open()
	r.request(shutdown, 1)
	c.wantClose(1001)
	r.end(session.Shutdown, 1001)
	b.wantClose(1001)
}

// testRequestFlood: a client that sends without pause and never answers doesn't keep
// its session open.
func testRequestFlood(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	go io.Copy(io.Discard, b)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		f := c.frame(fin|2, string(make([]byte, 1000)))
		for {
			if _, err := c.Write(f); err != nil {
				return
			}
		}
	}()
	r.until("the flood comes", func() bool { return r.engine.Traffic()[session.Client].Bytes > 1<<20 })
	r.request(shutdown, 1)
	c.wantClose(1001)
	r.end(session.Shutdown, 1001)
	<-stop
}

func testAbort(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	for range 3 {
		r.open()
	}
	c, b := r.open()
	r.engine.Abort(session.Shutdown)
	for range 4 {
		r.end(session.Shutdown, 0)
	}
	c.wantCut()
	b.wantCut()
	if n := r.engine.Active(); n != 0 {
		t.Errorf("Active = %d after Abort", n)
	}
	c, b = r.open() // it goes on
	c.text("new")
	b.wantText("new")
}

func testEngineClose(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.engine.Close()
	r.end(session.Shutdown, 0)
	c.wantCut()
	b.wantCut()
}

func testStartRefuses(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	other := netconn.New(nil)
	defer other.Close()
	ln, err := other.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
		if err := r.engine.Start(nil, nil, relay.Start{}); err == nil {
			t.Error("Start takes nothing at all")
		}
		if e.name == "epoll" {
			if err := r.engine.Start(c, c, relay.Start{}); err == nil {
				t.Error("Start takes a connection of another network")
			}
		}
		c.Write([]byte("still mine"))
	})
	if err != nil {
		t.Fatal(err)
	}
	r.ln = ln
	c := r.dial()
	if b, err := io.ReadAll(c.TCPConn); string(b) != "still mine" {
		t.Errorf("read %q, %v", b, err)
	}
}

// testRequestCancelled: sessions whose turn has not come go on, and can be closed
// later.
func testRequestCancelled(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	var clients, backends []*peer
	for range 4 {
		c, b := r.open()
		clients, backends = append(clients, c), append(backends, b)
	}
	o := shutdown
	o.Spread = time.Hour // the first session of each loop may be closed at once
	r.request(o, 4)
	kept := r.engine.Cancel(relay.CancelRequest{})
	if kept < 2 {
		t.Errorf("%d of 4 sessions were waiting for their turn, want 2 or more", kept)
	}
	r.request(relay.CancelRequest{}, 0)
	o.SkipScheduled, o.Spread = true, 0 // no session has a turn any more
	r.request(o, kept)
	for i, c := range clients {
		c.wantClose(1001)
		c.close(1001)
		backends[i].wantClose(1001)
		backends[i].TCPConn.Close()
	}
}

// testRequestText: a request may give its own reason text.
func testRequestText(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	for _, text := range []string{"back at noon", "another deploy", "back at noon"} {
		c, b := r.open()
		o := shutdown
		o.Text = text
		r.request(o, 1)
		c.want(fin|opClose, "\x03\xe9"+text)
		c.close(1001)
		b.wantClose(1001)
		b.TCPConn.Close()
		c.wantEnd()
	}
}

// testRequestMost: of each backend the given number of oldest sessions is chosen,
// whichever loops they are on. Leaving counts those.
func testRequestMost(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	o := relay.CloseRequest{Close: relay.Close{Cause: session.Rebalanced, Code: relay.CodeServiceRestart, Reason: relay.Uneven}}
	most := func(bounds map[uint32]int) {
		o.Backends = map[uint32]relay.Bound{}
		for backend, n := range bounds {
			o.Backends[backend] = relay.Bound{Most: n}
		}
	}
	most(map[uint32]int{7: 3, 8: 5})
	r.request(o, 0)
	var clients, backends []*peer
	for range 12 {
		c, b := r.open()
		clients, backends = append(clients, c), append(backends, b)
	}
	o.Spread = time.Hour
	for _, none := range []map[uint32]int{{}, {8: 5}, {7: 0}} {
		most(none)
		r.request(o, 0)
	}
	if n := r.engine.Leaving(); len(n) != 0 {
		t.Errorf("Leaving = %v, want none", n)
	}
	// Not those that began too early, nor those of other backends.
	most(map[uint32]int{7: 3, 8: 5})
	o.Backends[7] = relay.Bound{Most: 3, After: r.started[0].Started}
	o.Spread = 0
	r.request(o, 3)
	for i, c := range clients {
		if i == 1 || i == 2 || i == 3 {
			c.want(fin|opClose, "\x03\xf4rebalancing")
		}
	}
	if n := r.engine.Leaving(); n[7] != 3 || len(n) != 1 {
		t.Errorf("Leaving = %v, want three of backend 7", n)
	}
	for _, i := range []int{1, 2, 3} {
		clients[i].close(1012)
		backends[i].wantClose(1012)
		backends[i].TCPConn.Close()
		r.end(session.Rebalanced, 1012)
	}
	if n := r.engine.Leaving(); len(n) != 0 {
		t.Errorf("Leaving = %v when they have gone", n)
	}
	// Not those that began too late.
	o.Backends[7] = relay.Bound{Most: relay.All, UpTo: r.started[0].Started.Add(-1)}
	r.request(o, 0)
	// With SkipScheduled, those that have a turn aren't chosen again.
	o.Spread, o.SkipScheduled = time.Hour, true
	most(map[uint32]int{7: 2})
	r.request(o, 2) // the first one has its turn at once
	clients[0].wantClose(1012)
	r.request(o, 2)
	if n := r.engine.Leaving(); n[7] != 4 {
		t.Errorf("Leaving = %v, four have a turn", n)
	}
	most(map[uint32]int{7: 1000})
	r.request(o, 5)
	r.request(o, 0)
	r.engine.Abort(session.Shutdown)
	for range 9 {
		<-r.ends
	}
}
