package relay_test

import (
	"io"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/gonet"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

var shutdown = relay.Order{Cause: session.Shutdown, Code: relay.CodeGoingAway, Reason: relay.GoingAway}

func (r *rig) order(o relay.Order, want int) {
	r.t.Helper()
	if n := r.engine.CloseSessions(o); n != want {
		r.t.Errorf("CloseSessions = %d, want %d", n, want)
	}
}

func testOrder(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
	r.order(shutdown, 0)
	c, b := r.open()
	r.order(shutdown, 1)
	c.want(fin|opClose, "\x03\xe9going away")
	b.text("still")  // is not for the client any more
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

// testOrderInMessage: the Close waits for the end of a fragmented message that
// trickles in, and goes out right behind it.
func testOrderInMessage(t *testing.T, e engine) {
	r := newRig(t, e, relay.Times{Linger: patience, Boundary: patience}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(opText, "once "))
	c.want(opText, "once ")
	r.order(shutdown, 1)
	r.until("the order has come", func() bool { return r.onlySession().Cause == session.Shutdown })
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

// testOrderForced: a message that does not end holds the Close up for
// Times.Boundary; then it goes out between two fragments.
func testOrderForced(t *testing.T, e engine) {
	r := newRig(t, e, relay.Times{Linger: patience, Boundary: 500 * time.Millisecond}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(opText, "once "))
	c.want(opText, "once ")
	began := time.Now()
	r.order(shutdown, 1)
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

func testOrderInFrame(t *testing.T, e engine) {
	r := newRig(t, e, relay.Times{Linger: patience, Boundary: 500 * time.Millisecond}, relay.Limits{})
	c, b := r.open()
	b.send(b.frame(fin|opText, "never ending")[:6])
	if _, err := io.ReadFull(c.r, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	r.order(shutdown, 1)
	b.wantEnd()
	b.TCPConn.Close()
	c.wantCut()
	r.end(session.Shutdown, 0)
}

func testOrderSelect(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
	c1, _ := r.open()
	c2, _ := r.open()
	o := relay.Order{Cause: session.BackendRemoved, Code: relay.CodeServiceRestart, Reason: relay.BackendGone,
		Select: func(i session.Info) bool {
			if i.Backend != 7 || i.Route != 9 || i.ID == (session.ID{}) {
				t.Errorf("Select is asked for %+v", i)
			}
			return i.Client.String() == c1.LocalAddr().String()
		}}
	r.order(o, 1)
	c1.want(fin|opClose, "\x03\xf4server removed")
	r.order(o, 0) // it is closing already
	c2.quiet(100 * time.Millisecond)
	if n := r.engine.Active(); n != 2 {
		t.Errorf("Active = %d, want 2", n)
	}
	o.Select = nil
	r.order(o, 1)
	c2.wantClose(1012)
	for range 2 {
		r.end(session.BackendRemoved, 1012)
	}
}

func testOrderSpread(t *testing.T, e engine) {
	const n = 12
	r := newRig(t, e, quick, relay.Limits{})
	var at [n]time.Duration
	var clients [n]*peer
	for i := range clients {
		clients[i], _ = r.open()
	}
	o := shutdown
	o.Spread = 3 * time.Second
	began := time.Now()
	r.order(o, n)
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
	// Each loop spreads its own sessions, so order holds but for a step.
	first, last := at[0], at[0]
	for i, d := range at {
		first, last = min(first, d), max(last, d)
		if i >= 8 && d < at[i-8] {
			t.Errorf("session %d was closed after %v, before %d (%v)", i, d, i-8, at[i-8])
		}
	}
	if first > o.Spread/3 || last < o.Spread/2 || last > o.Spread+2*time.Second {
		t.Errorf("%d closes were spread over %v: %v", n, o.Spread, at)
	}
	for range n {
		r.end(session.Shutdown, 1001)
	}
	// An order for sooner overtakes one for later, unless it is for those that
	// have none.
	c, _ := r.open()
	o.Spread = time.Hour
	r.open()
	r.order(o, 2)
	late := shutdown
	late.Late = true
	r.order(late, 0)
	// The turn of a loop's first session is at once; it may have come.
	if n := r.engine.CloseSessions(shutdown); n < 1 || n > 2 {
		t.Errorf("CloseSessions = %d, want 1 or 2", n)
	}
	c.wantClose(1001)
	for range 2 {
		r.end(session.Shutdown, 1001)
	}
}

func testOrderUnanswered(t *testing.T, e engine) {
	// A client that never answers: its backend is told, too.
	r := newRig(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.order(shutdown, 1)
	c.wantClose(1001)
	b.wantClose(1001)
	b.close(1001)
	b.TCPConn.Close()
	r.end(session.Shutdown, 1001)

	// A backend that never answers: its client has its answer all the same.
	c, b = r.open()
	r.order(shutdown, 1)
	c.wantClose(1001)
	c.close(1001)
	b.wantClose(1001)
	r.end(session.Shutdown, 1001)
	c.wantEnd()

	// Neither.
	c, b = r.open()
	r.order(shutdown, 1)
	c.wantClose(1001)
	r.end(session.Shutdown, 1001)
	b.wantClose(1001)
}

// testOrderFlood: a client that sends without end and never answers does not
// keep its session open.
func testOrderFlood(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
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
	r.order(shutdown, 1)
	c.wantClose(1001)
	r.end(session.Shutdown, 1001)
	<-stop
}

func testAbort(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
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
	r := newRig(t, e, quick, relay.Limits{})
	c, b := r.open()
	r.engine.Close()
	r.end(session.Shutdown, 0)
	c.wantCut()
	b.wantCut()
}

func testStartRefuses(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
	other := gonet.New(nil)
	defer other.Close()
	ln, err := other.Listen("127.0.0.1:0", func(c transport.Conn) {
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

// testOrderTakenBack: sessions whose turn has not come go on, and can be
// closed later.
func testOrderTakenBack(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
	var clients, backends []*peer
	for range 4 {
		c, b := r.open()
		clients, backends = append(clients, c), append(backends, b)
	}
	o := shutdown
	o.Spread = time.Hour // the first of each loop may be closed at once
	r.order(o, 4)
	kept := r.engine.CloseSessions(relay.Order{Keep: true})
	if kept < 2 {
		t.Errorf("%d of 4 sessions were waiting for their turn, want 2 or more", kept)
	}
	r.order(relay.Order{Keep: true}, 0)
	o.Late, o.Spread = true, 0 // leaves alone what has a turn: nothing has any more
	r.order(o, kept)
	for i, c := range clients {
		c.wantClose(1001)
		c.close(1001)
		backends[i].wantClose(1001)
		backends[i].TCPConn.Close()
	}
}

// testOrderText: an Order may say why in words of its own.
func testOrderText(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
	for _, text := range []string{"back at noon", "another deploy", "back at noon"} {
		c, b := r.open()
		o := shutdown
		o.Text = text
		r.order(o, 1)
		c.want(fin|opClose, "\x03\xe9"+text)
		c.close(1001)
		b.wantClose(1001)
		b.TCPConn.Close()
		c.wantEnd()
	}
}

// testOrderMost: of each backend the oldest sessions are chosen, so many as are
// asked for, whichever loops they are on; and what is on its way is counted.
func testOrderMost(t *testing.T, e engine) {
	r := newRig(t, e, quick, relay.Limits{})
	o := relay.Order{Cause: session.Rebalanced, Code: relay.CodeServiceRestart, Reason: relay.Uneven, Most: map[uint32]int{7: 3, 8: 5}}
	r.order(o, 0)
	var clients, backends []*peer
	for range 12 {
		c, b := r.open()
		clients, backends = append(clients, c), append(backends, b)
	}
	o.Spread = time.Hour
	for _, none := range []map[uint32]int{{}, {8: 5}, {7: 0}} {
		o.Most = none
		r.order(o, 0)
	}
	if n := r.engine.Leaving(); len(n) != 0 {
		t.Errorf("Leaving = %v, nobody is", n)
	}
	// Not those that are asked for elsewhere, nor those of others.
	o.Most = map[uint32]int{7: 3, 8: 5}
	o.Select = func(i session.Info) bool { return i.Client.String() != clients[1].LocalAddr().String() }
	o.Spread = 0
	r.order(o, 3)
	for i, c := range clients {
		if i == 0 || i == 2 || i == 3 {
			c.want(fin|opClose, "\x03\xf4rebalancing")
		}
	}
	if n := r.engine.Leaving(); n[7] != 3 || len(n) != 1 {
		t.Errorf("Leaving = %v, want three of backend 7", n)
	}
	for _, i := range []int{0, 2, 3} {
		clients[i].close(1012)
		backends[i].wantClose(1012)
		backends[i].TCPConn.Close()
		r.end(session.Rebalanced, 1012)
	}
	if n := r.engine.Leaving(); len(n) != 0 {
		t.Errorf("Leaving = %v when they have gone", n)
	}
	// With Late, those that have a turn aren't chosen again.
	o.Select, o.Spread, o.Late, o.Most = nil, time.Hour, true, map[uint32]int{7: 2}
	r.order(o, 2) // the first one's turn is at once
	clients[1].wantClose(1012)
	r.order(o, 2)
	if n := r.engine.Leaving(); n[7] != 4 {
		t.Errorf("Leaving = %v, four have a turn", n)
	}
	o.Most[7] = 1000
	r.order(o, 5)
	r.order(o, 0)
	r.engine.Abort(session.Shutdown)
	for range 9 {
		<-r.ends
	}
}
