package proxy_test

import (
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// always moves sessions for every reason.
var always = &session.Reattach{Drain: true, Loss: true, Rebalance: true, Timeout: patience}

// stillEngine moves no session: the test calls the Reattacher as an engine would.
type stillEngine struct {
	relay.Engine
	relay.Reattacher

	mu     sync.Mutex // guards the following
	starts []relay.Start
}

func (e *stillEngine) SetReattacher(m relay.Reattacher) { e.Reattacher = m }

func (e *stillEngine) Start(client, backend transport.Conn, s relay.Start) error {
	real := s
	real.Movable = false
	defer func() {
		e.mu.Lock()
		e.starts = append(e.starts, s)
		e.mu.Unlock()
	}()
	return e.Engine.Start(client, backend, real)
}

// started waits for the i-th session and returns its Start.
func (e *stillEngine) started(t testing.TB, i int) relay.Start {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		all := e.starts
		e.mu.Unlock()
		if i < len(all) {
			return all[i]
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions have started, not %d", len(all), i+1)
		}
	}
}

// still starts a balancer whose sessions move only when the test says so.
func still(t *testing.T, s setup) (*balancer, *stillEngine) {
	t.Helper()
	e := &stillEngine{}
	s.wrap = func(real relay.Engine) relay.Engine {
		e.Engine = real
		return e
	}
	if s.reattach == nil {
		s.reattach = always
	}
	return start(t, "portable", s), e
}

// moving is the ReattachRequest of the first session.
func (b *balancer) moving(why session.Why) relay.ReattachRequest {
	b.t.Helper()
	m := relay.ReattachRequest{Why: why, Attempt: 1, Deadline: time.Now().Add(patience)}
	b.wait("a session", func() bool {
		if len(b.opened) > 0 {
			m.Info = b.opened[0]
		}
		return len(b.opened) > 0
	})
	return m
}

// wantMove moves the first session, checks the result, and returns where it went.
func (b *balancer) wantMove(e *stillEngine, m relay.ReattachRequest, result string) (to string, early string) {
	b.t.Helper()
	e.started(b.t, 0)
	found, err := e.Reattach(nil, m)
	if err == nil {
		to, early = b.registry.Backend(found.ID).Address, string(found.Early)
		found.Conn.Close()
		if result != "moved" {
			b.t.Errorf("it was moved, want %q", result)
		}
		err = relay.ErrMoveOver // or the old lease would be given back
		result = "client_gone"
	}
	e.Moved(m, found.ID, time.Millisecond, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := b.moves[len(b.moves)-1]; got.Result != result || got.To != found.ID {
		b.t.Errorf("the move ended with %q to %d (%v), want %q to %d; log:\n%s", got.Result, got.To, got.Err, result, found.ID, b.log)
	}
	return to, early
}

// answering is a backend that gives every handshake the same answer.
func answering(t testing.TB, answer string) *backend {
	return newBackend(t, func(p *peer, _ string) {
		io.WriteString(p, answer)
		io.Copy(io.Discard, p.br)
	})
}

const (
	takeover   = "Sec-WebSocket-Extensions: permessage-deflate"
	noTakeover = takeover + "; server_no_context_takeover; client_no_context_takeover"
)

// The second backend gets the same request as the first, and the reason.
func TestReattachAsksAgain(t *testing.T) {
	one := answering(t, switching("Sec-WebSocket-Protocol: v2", noTakeover))
	two := answering(t, switching("Sec-WebSocket-Protocol: v2", takeover+"; server_no_context_takeover; server_max_window_bits=15")+serverFrame(1, "early"))
	b, e := still(t, setup{backends: []string{one.addr, two.addr}, trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	c := b.dial().send(upgrade("/chat?room=1", "Cookie: a=b", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https",
		"Sec-WebSocket-Protocol: v1, v2", takeover+"; client_max_window_bits, mux", "Sec-WebSocket-Extensions: x-other",
		"Holdfast-Session: forged", "Holdfast-Reattach: loss", "holdfast_attempt: 7"))
	resp, _ := c.want(101)
	if got := resp.Header["Sec-Websocket-Extensions"]; len(got) != 1 || "Sec-WebSocket-Extensions: "+got[0] != noTakeover {
		t.Errorf("the client is answered %q", got)
	}
	m := b.moving(session.Drain)
	to, early := b.wantMove(e, m, "moved")
	if to != two.addr || early != serverFrame(1, "early") {
		t.Errorf("moved to %s with %q", to, early)
	}

	_, first := one.seen()
	_, second := two.seen()
	id := m.Info.ID.String()
	own := "Holdfast-Session: " + id + "\r\nHoldfast-Control: 1\r\n"
	if !strings.Contains(first[0], noTakeover+"; client_max_window_bits\r\n"+own+"\r\n") || strings.Count(strings.ToLower(first[0]), "holdfast") != 2 {
		t.Errorf("the first was sent\n%s", first[0])
	}
	if want := strings.Replace(first[0], own, own+"Holdfast-From: "+one.addr+"\r\nHoldfast-Move: 1\r\nHoldfast-Reattach: drain\r\nHoldfast-Attempt: 1\r\n", 1); len(second) != 1 || second[0] != want {
		t.Errorf("the second was sent\n%q\nwant\n%s", second, want)
	}
	if field(t, first[0], "X-Forwarded-For") != "192.0.2.7, 127.0.0.1" || field(t, first[0], "Sec-WebSocket-Key") != key {
		t.Errorf("the first was sent\n%s", first[0])
	}

	if s := e.started(t, 0); !s.Movable || !s.OnLoss || s.MoveTimeout != patience {
		t.Errorf("started with %+v", s)
	}
}

// If a backend doesn't give the right answer, the next one is asked.
func TestReattachTriesOthers(t *testing.T) {
	type backends []func(*testing.T) string
	with := func(answer string) func(*testing.T) string {
		return func(t *testing.T) string { return answering(t, answer).addr }
	}
	refused := func(t *testing.T) string { return testkit.FreeAddress(t) }
	closing := func(t *testing.T) string { return newBackend(t, func(p *peer, _ string) { p.Close() }).addr }
	good := with(switching("Sec-WebSocket-Protocol: v2", noTakeover))
	declining := with("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	for name, c := range map[string]struct {
		others  backends
		result  string
		to      int
		attempt string
	}{
		"good":                     {backends{good}, "moved", 0, "1"},
		"declined, then good":      {backends{declining, good}, "moved", 1, "2"},
		"broken, then good":        {backends{with("ERR\r\n\r\n"), good}, "moved", 1, "2"},
		"refused, closed, good":    {backends{refused, closing, good}, "moved", 2, "3"},
		"another subprotocol":      {backends{with(switching("Sec-WebSocket-Protocol: v1", noTakeover)), good}, "moved", 1, "2"},
		"no subprotocol":           {backends{with(switching(noTakeover))}, "different", -1, ""},
		"no compression":           {backends{with(switching("Sec-WebSocket-Protocol: v2"))}, "different", -1, ""},
		"a smaller window":         {backends{with(switching("Sec-WebSocket-Protocol: v2", noTakeover+"; server_max_window_bits=9"))}, "different", -1, ""},
		"context taken over":       {backends{with(switching("Sec-WebSocket-Protocol: v2", takeover))}, "broken", -1, ""},
		"three decline":            {backends{declining, declining, declining, good}, "refused", -1, ""},
		"the last one's is told":   {backends{declining, closing}, "silent", -1, ""},
		"the only other refuses":   {backends{refused}, "unreachable", -1, ""},
		"there is no other":        {nil, "no_backend", -1, ""},
		"garbage, then none is up": {backends{with("ERR\r\n\r\n")}, "broken", -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup{backends: []string{good(t)}}
			for _, make := range c.others {
				s.backends = append(s.backends, make(t))
			}
			b, e := still(t, s)
			b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: v1, v2", takeover)).want(101)
			to, _ := b.wantMove(e, b.moving(session.Loss), c.result)
			if c.to >= 0 && to != s.backends[1+c.to] {
				t.Errorf("moved to %s, want %d of %q", to, c.to, s.backends[1:])
			}
			if n := b.registry.Backend(b.opened[0].Backend).Sessions(); n != 1 {
				t.Errorf("the old backend has %d leases", n)
			}
		})
	}
}

// A session whose backend gets notices moves only to one that wants them too.
func TestReattachControl(t *testing.T) {
	const control = "Holdfast-Control: 1"
	for name, c := range map[string]struct {
		first, second []string
		result        string
	}{
		"both":            {[]string{control}, []string{control}, "moved"},
		"only before":     {[]string{control}, nil, "different"},
		"only after":      {nil, []string{control}, "moved"},
		"neither":         {nil, nil, "moved"},
		"another version": {[]string{"Holdfast-Control: 2"}, nil, "moved"},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := answering(t, switching(c.first...)), answering(t, switching(c.second...))
			b, e := still(t, setup{backends: []string{one.addr, two.addr}})
			resp, _ := b.dial().send(upgrade("/")).want(101)
			if got := resp.Header.Get("Holdfast-Control"); got != "" {
				t.Errorf("the client is told %q", got)
			}
			m := b.moving(session.Drain)
			if m.Control = e.started(t, 0).Control; m.Control != (len(c.first) > 0 && c.first[0] == control) {
				t.Errorf("it starts with Control %v", m.Control)
			}
			b.wantMove(e, m, c.result)
		})
	}
}

func TestReattachCountsAttempts(t *testing.T) {
	decline := answering(t, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	last := answering(t, switching())
	b, e := still(t, setup{backends: []string{answering(t, switching()).addr, decline.addr, last.addr}})
	b.dial().send(upgrade("/")).want(101)
	for range 2 {
		b.wantMove(e, b.moving(session.Rebalance), "moved")
	}
	_, first := decline.seen()
	_, second := last.seen()
	for i := range 2 { // each move is counted
		if field(t, first[i], "Holdfast-Attempt") != "1" || field(t, second[i], "Holdfast-Attempt") != "2" || field(t, second[i], "Holdfast-Reattach") != "rebalance" {
			t.Errorf("asked with\n%s\n%s", first[i], second[i])
		}
	}
}

// A backend isn't blamed if the time for the move is over.
func TestReattachTimeout(t *testing.T) {
	mute := newBackend(t, func(p *peer, _ string) { io.Copy(io.Discard, p.br) })
	specs := []pool.Spec{{Name: "all", MaxFails: 1, FailTimeout: time.Hour, Backends: []pool.BackendSpec{
		{Address: answering(t, switching()).addr, Weight: 256}, {Address: mute.addr, Weight: 64}, {Address: mute.addr, Name: "again", Weight: 8}}}}
	b, e := still(t, setup{pools: specs})
	b.dial().send(upgrade("/")).want(101)
	m := b.moving(session.Drain)
	m.Deadline = time.Now().Add(50 * time.Millisecond)
	b.wantMove(e, m, "timeout")
	if conns, _ := mute.seen(); conns != 1 {
		t.Errorf("%d backends were tried", conns)
	}
	for _, backend := range b.registry.Backends() {
		if backend.Availability() != pool.Available {
			t.Errorf("%s is %v", backend.Name, backend.Availability())
		}
	}
}

// A backend that never answers takes its share of the time, and the failure is counted against it.
func TestReattachPassesOverTheMute(t *testing.T) {
	mute := newBackend(t, func(p *peer, _ string) { io.Copy(io.Discard, p.br) })
	good := answering(t, switching())
	specs := []pool.Spec{{Name: "all", MaxFails: 1, FailTimeout: time.Hour, Backends: []pool.BackendSpec{
		{Address: answering(t, switching()).addr, Weight: 256}, {Address: mute.addr, Weight: 64}, {Address: good.addr, Weight: 8}}}}
	b, e := still(t, setup{pools: specs, handshake: 100 * time.Millisecond, trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	b.dial().send(upgrade("/", "X-Forwarded-For: 192.0.2.1")).want(101)
	m := b.moving(session.Drain)
	b.dial().send(upgrade("/", "X-Forwarded-For: 192.0.2.2")).want(101)
	b.wait("a second session", func() bool { return len(b.opened) == 2 })
	for i := range 2 { // one client alone is no reason to eject it
		m.Info = b.opened[i]
		if to, _ := b.wantMove(e, m, "moved"); to != good.addr {
			t.Errorf("moved to %s", to)
		}
	}
	for _, backend := range b.registry.Backends() {
		if ejected := backend.Availability() == pool.Ejected; ejected != (backend.Address == mute.addr) {
			t.Errorf("%s is %v", backend.Address, backend.Availability())
		}
	}
}

// A reload also applies to sessions that exist.
func TestReattachGoesByTheConfigurationOfNow(t *testing.T) {
	other := answering(t, switching())
	s := setup{backends: []string{answering(t, switching()).addr, other.addr}}
	b, e := still(t, s)
	b.dial().send(upgrade("/")).want(101)
	b.wantMove(e, b.moving(session.Loss), "moved")
	swap := func(change func(*generation.Pool)) {
		g := b.generation(s)
		g.Pools["all"].Reattach = always
		change(g.Pools["all"])
		b.proxy.Swap(g)
	}
	for _, why := range []session.Why{session.Drain, session.Loss, session.Rebalance} {
		swap(func(p *generation.Pool) {
			p.Reattach = &session.Reattach{Drain: why == session.Drain, Loss: why == session.Loss, Rebalance: why == session.Rebalance}
		})
		for _, asked := range []session.Why{session.Drain, session.Loss, session.Rebalance} {
			want := "off"
			if asked == why {
				want = "moved"
			}
			b.wantMove(e, b.moving(asked), want)
		}
	}
	swap(func(p *generation.Pool) { p.Reattach = nil })
	b.wantMove(e, b.moving(session.Loss), "off")

	g := b.generation(s)
	delete(g.Pools, "all")
	b.proxy.Swap(g)
	b.wantMove(e, b.moving(session.Loss), "off")

	// A bug of the balancer costs only the move, not the session.
	swap(func(p *generation.Pool) { p.Picker = nil })
	if _, err := e.Reattach(nil, b.moving(session.Loss)); err == nil {
		t.Error("a move without a picker succeeded")
	}
	b.waitLog("panic in a handshake; its session is not moved")
	b.mayPanic = true
}

// While a session moves it has leases on both backends, afterwards on one.
func TestReattachLeases(t *testing.T) {
	b, e := still(t, setup{backends: []string{answering(t, switching()).addr, answering(t, switching()).addr}})
	b.dial().send(upgrade("/")).want(101)
	m := b.moving(session.Drain)
	e.started(t, 0)
	find := func() (relay.NewBackend, *pool.Backend, *pool.Backend) {
		t.Helper()
		found, err := e.Reattach(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		found.Conn.Close()
		return found, b.registry.Backend(m.Info.Backend), b.registry.Backend(found.ID)
	}
	want := func(old, to *pool.Backend, oldWant, toWant int) {
		t.Helper()
		if old.Sessions() != oldWant || to.Sessions() != toWant {
			t.Errorf("the old backend has %d leases, the new one %d; want %d and %d", old.Sessions(), to.Sessions(), oldWant, toWant)
		}
	}
	found, old, to := find()
	want(old, to, 1, 1)
	e.Moved(m, found.ID, time.Millisecond, relay.ErrMessageCut)
	want(old, to, 1, 0)
	e.Moved(m, 0, time.Millisecond, relay.ErrNoBoundary)
	want(old, to, 1, 0)
	found, old, to = find()
	e.Swapped(m, found.ID)
	e.Moved(m, found.ID, time.Millisecond, nil)
	want(old, to, 0, 1)
	var results []string
	for _, m := range b.moves {
		results = append(results, m.Result)
	}
	if got := strings.Join(results, " "); got != "message_cut no_boundary moved" {
		t.Errorf("counted as %s", got)
	}
	old.TryAcquire() // the engine still has the session there
	to.Release()
}

func TestLargeHandshakesAreNotKept(t *testing.T) {
	b, e := still(t, setup{backends: []string{answering(t, switching()).addr, answering(t, switching()).addr}})
	line := func(n int) string { return "Cookie: " + strings.Repeat("x", n-len(upgrade("/", "Cookie: "))) }
	b.dial().send(upgrade("/", line(8<<10))).want(101)
	b.wantMove(e, b.moving(session.Drain), "moved")
	b.dial().send(upgrade("/", line(8<<10+1))).want(101)
	b.wait("the second session", func() bool { return len(b.opened) == 2 })
	m := b.moving(session.Drain)
	m.Info = b.opened[1]
	b.wantMove(e, m, "not_kept")
	if one, two := e.started(t, 0), e.started(t, 1); b.notKept != 1 || !one.Movable || two.Movable {
		t.Errorf("%d not kept; started with %+v and %+v", b.notKept, one, two)
	}
}

// Without reattach nothing is saved, sent to backends or rewritten; but clients
// still can't forge fields.
func TestNoReattach(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := newBackend(t, func(p *peer, head string) {
			if strings.Contains(head, "Upgrade: websocket") {
				io.WriteString(p, switching(takeover))
				io.Copy(io.Discard, p.br)
				return
			}
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		})
		b := start(t, engine, setup{backends: []string{server.addr}})
		forged := []string{"Holdfast-Session: 1", "HOLDFAST-REATTACH: loss", "Holdfast_Attempt: 3", "Holdfast-Else: 4"}
		resp, _ := b.dial().send(upgrade("/", append(forged, takeover+"; client_max_window_bits, mux")...)).want(101)
		if got := resp.Header.Get("Sec-WebSocket-Extensions"); "Sec-WebSocket-Extensions: "+got != takeover {
			t.Errorf("the client is answered %q", got)
		}
		b.dial().send("GET / HTTP/1.1\r\nHost: ws.example.com\r\n" + lines(forged) + "\r\n").want(200)
		_, heads := server.seen()
		for _, head := range heads {
			if n := strings.Count(strings.ToLower(head), "holdfast"); n > 1 || n == 1 && !strings.Contains(head, "Upgrade: websocket") {
				t.Errorf("the backend was sent\n%s", head)
			}
		}
		// Every backend can join its log with ours.
		b.wait("the session", func() bool { return len(b.opened) == 1 })
		if got := field(t, heads[0], "Holdfast-Session"); got != b.opened[0].ID.String() {
			t.Errorf("the backend was told session %q, and it is %s", got, b.opened[0].ID)
		}
		if !strings.Contains(heads[0], takeover+"; client_max_window_bits, mux\r\n") {
			t.Errorf("the backend was sent\n%s", heads[0])
		}
	})
}

// The sessions of a backend that keeps its compression context can't be moved. So
// it gets none, and the log says what is wrong.
func TestContextTakeoverIsRefused(t *testing.T) {
	specs := []pool.Spec{{Name: "all", MaxFails: 1, FailTimeout: time.Hour, Backends: []pool.BackendSpec{{Address: answering(t, switching(takeover)).addr}}}}
	b := start(t, testkit.Engines()[0], setup{pools: specs, reattach: always})
	b.dial().send(upgrade("/", takeover)).want(502)
	b.wantResult("backend_broken")
	b.waitLog("server_no_context_takeover")
	if f := b.registry.Backends()[0].Availability(); f != pool.Available {
		t.Errorf("what a client offers has made its backend %v", f)
	}
}

// The backend is chosen as for a new session, except for the one that the session
// leaves: affinity with it is ignored.
func TestReattachChoice(t *testing.T) {
	cookie := affinity.Cookie{Name: "sid", Secret: "0123456789abcdef"}
	names := []string{"a", "b", "c"}
	cookieOf := func(name string) string {
		pair, _, _ := strings.Cut(string(affinity.NewTable(cookie, "all", []string{name}).AppendSetCookie(nil, 0, false)), ";")
		return "Cookie: " + pair
	}
	byCookie := func(p *generation.Pool) { p.Cookie = affinity.NewTable(cookie, "all", names) }
	byToken := func(p *generation.Pool) {
		part, err := requestkey.ParseToken("header:X-Room")
		if err != nil {
			t.Fatal(err)
		}
		p.Token = []requestkey.Part{part}
		if p.Tokens, err = balance.New(balance.Options{Algorithm: "hash"}, p.Picker.Members()); err != nil {
			t.Fatal(err)
		}
	}
	byHash := func(p *generation.Pool) {
		part, err := requestkey.Parse("header:X-Room")
		if err != nil {
			t.Fatal(err)
		}
		p.Key = []requestkey.Part{part}
		if p.Picker, err = balance.New(balance.Options{Algorithm: "hash"}, p.Picker.Members()); err != nil {
			t.Fatal(err)
		}
	}
	refuse := func(p *generation.Pool) { p.Refuse = true }
	for name, c := range map[string]struct {
		field string
		pool  []func(*generation.Pool)
		begin int // the member it is with
		want  int // the one it comes to; -1: whichever
	}{
		"cookie of the old one":         {cookieOf("a"), []func(*generation.Pool){byCookie}, 0, 1},
		"and no other is wanted":        {cookieOf("a"), []func(*generation.Pool){byCookie, refuse}, 0, 1},
		"cookie of a third":             {cookieOf("c"), []func(*generation.Pool){byCookie}, 2, -1},
		"no cookie":                     {"X: y", []func(*generation.Pool){byCookie, refuse}, 0, 1},
		"token":                         {"X-Room: 1", []func(*generation.Pool){byToken}, -1, -1},
		"token, and no other is wanted": {"X-Room: 2", []func(*generation.Pool){byToken, refuse}, -1, -1},
		"hash":                          {"X-Room: 3", []func(*generation.Pool){byHash}, -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			var spec pool.Spec
			for i, n := range names {
				spec.Backends = append(spec.Backends, pool.BackendSpec{Name: n, Address: answering(t, switching()).addr, Weight: 256 >> (2 * i)})
			}
			spec.Name = "all"
			s := setup{pools: []pool.Spec{spec}, reattach: always}
			b, e := still(t, s)
			g := b.generation(s)
			for _, change := range c.pool {
				change(g.Pools["all"])
			}
			b.proxy.Swap(g)
			b.dial().send(upgrade("/", c.field)).want(101)
			b.wait("a session", func() bool { return len(b.opened) > 0 })
			old := b.registry.Backend(b.opened[0].Backend)
			if c.begin >= 0 && old.Name != names[c.begin] {
				t.Fatalf("it began with %s", old.Name)
			}
			// Twice, as it is the same request: a key leads to the same one again.
			to, _ := b.wantMove(e, b.moving(session.Drain), "moved")
			again, _ := b.wantMove(e, b.moving(session.Drain), "moved")
			if to == old.Address || to != again || c.want >= 0 && to != spec.Backends[c.want].Address {
				t.Errorf("from %s it was moved to %s and %s, of %v", old.Address, to, again, spec.Backends)
			}
		})
	}
}

// A cookie that names a third backend leads the session back to where the client
// belongs.
func TestReattachByCookie(t *testing.T) {
	cookie := affinity.Cookie{Name: "sid", Secret: "0123456789abcdef"}
	spec := pool.Spec{Name: "all", Checked: true}
	for _, n := range []string{"a", "b", "c"} {
		spec.Backends = append(spec.Backends, pool.BackendSpec{Name: n, Address: answering(t, switching()).addr})
	}
	s := setup{pools: []pool.Spec{spec}, reattach: always}
	b, e := still(t, s)
	g := b.generation(s)
	g.Pools["all"].Cookie = affinity.NewTable(cookie, "all", []string{"a", "b", "c"})
	b.proxy.Swap(g)
	own := b.registry.Backends()[2]
	own.SetOperational(pool.Down, "test")
	pair, _, _ := strings.Cut(string(g.Pools["all"].Cookie.AppendSetCookie(nil, 2, false)), ";")
	b.dial().send(upgrade("/", "Cookie: "+pair)).want(101)
	if m := b.moving(session.Drain); m.Info.Backend == own.ID {
		t.Fatal("it began with the one that is down")
	}
	own.SetOperational(pool.Up, "test")
	if to, _ := b.wantMove(e, b.moving(session.Drain), "moved"); to != own.Address {
		t.Errorf("moved to %s, want %s", to, own.Address)
	}
}

// A session that has waited in its pool's queue can be moved like any other. A
// move doesn't wait in that queue.
func TestReattachWithAdmission(t *testing.T) {
	q := slow(ratelimit.Options{})
	defer q.Close()
	one, two := answering(t, switching(noTakeover)), answering(t, switching(noTakeover))
	b, e := still(t, setup{backends: []string{one.addr, two.addr}, admit: q})
	for range 2 { // the tokens of both
		b.dial().send(upgrade("/", takeover)).want(101)
	}
	c := b.dial().send(upgrade("/", takeover))
	b.awaitQueue(q, 1)
	b.wantMove(e, b.moving(session.Drain), "moved")
	q.Configure(ratelimit.Options{})
	resp, _ := c.want(101)
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); "Sec-WebSocket-Extensions: "+got != noTakeover {
		t.Errorf("the client that waited is answered %q", got)
	}
	last := e.started(t, 2)
	if !last.Movable {
		t.Errorf("started with %+v", last)
	}
	_, heads := one.seen()
	_, others := two.seen()
	if all := strings.Join(append(heads, others...), ""); strings.Count(all, "Holdfast-Session: "+last.Info.ID.String()+"\r\n") != 1 {
		t.Errorf("%s isn't in the log:\n%s", last.Info.ID, all)
	}
	m := b.moving(session.Loss)
	m.Info = last.Info
	b.wantMove(e, m, "moved")
}

// On a rebalance the session moves to the least loaded backend, whatever the pool's
// algorithm. It stays if no other has fewer sessions than its fair share.
func TestRebalanceGoesToTheLeastLoaded(t *testing.T) {
	specs := []pool.Spec{{Name: "all", Balance: "round_robin"}}
	for range 3 {
		specs[0].Backends = append(specs[0].Backends, pool.BackendSpec{Address: answering(t, switching()).addr})
	}
	b, e := still(t, setup{pools: specs})
	b.dial().send(upgrade("/")).want(101)
	m := b.moving(session.Rebalance)
	all := b.registry.Backends()
	left := b.registry.Backend(m.Info.Backend)
	occupy := func(backend *pool.Backend, n int) {
		for backend.Sessions() < n {
			backend.TryAcquire()
			t.Cleanup(backend.Release)
		}
	}
	others := make([]*pool.Backend, 0, 2)
	for _, backend := range all {
		if backend != left {
			others = append(others, backend)
		}
	}
	occupy(left, 9)
	occupy(others[0], 2)
	for range 3 {
		if to, _ := b.wantMove(e, m, "moved"); to != others[1].Address {
			t.Errorf("moved to %s, %s has no session", to, others[1].Address)
		}
	}
	occupy(others[0], 9)
	occupy(others[1], 9)
	b.wantMove(e, m, "not_needed")
}
