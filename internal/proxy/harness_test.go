package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/ops/logging"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/reattach"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// patience is how long a test waits for what must come.
const patience = testkit.Patience

// plenty is a limit that no test reaches. What is counted for it must be given back.
const plenty = 1_000_000

// setup is what a balancer under test is made of; the zero value serves
// everything from the pool "all" of no backends.
type setup struct {
	backends    []string // of the pool "all", in the order they are to be tried
	pools       []pool.Spec
	rules       []route.Rule
	policy      generation.Policy // of each rule
	common      limit.Rules       // of the generation
	listeners   map[string]*generation.ListenerPolicy
	trust       []netip.Prefix
	trustUnix   bool
	proxied     proxyproto.Version     // what every pool tells its backends
	connect     time.Duration          // patience where 0
	handshake   time.Duration          // patience where 0
	maxSessions int                    // 100 where 0
	admit       *ratelimit.Limiter     // of all pools; nil is none
	reattach    *session.Reattach      // of every pool
	listener    transport.ListenerSpec // without its address
	challenge   func(host, path string) (string, bool)
	clientCert  *clientcert.Policy
	forward     *generation.Forward // of all rules
	ids         requestid.Policy
	upgrades    []string        // of every rule, beside WebSocket
	connections int             // of plain HTTP, of one address; 0 is any number
	tls         *transport.TLS  // what clients are taken to have agreed on
	secure      *tlsconn.Config // clients really speak TLS
	auth        *auth.Policy    // of every route
	traced      bool
	// wrap puts something around the engine.
	wrap func(relay.Engine) relay.Engine
}

// balancer is the spine on a real socket. It is its own proxy.Watcher.
type balancer struct {
	t        testing.TB
	addr     string
	engine   relay.Engine
	proxy    *proxy.Proxy
	gate     *overload.Gate
	limiter  *limit.Limiter
	registry *pool.Registry
	log      *testkit.Log
	mayPanic bool
	traces   chan *timing.Trace // nil unless handshakes are traced

	mu       sync.Mutex // guards the following
	changed  *sync.Cond
	results  []string
	affinity []string
	opened   []session.Info
	claims   []claims.Claims // of those opened
	secured  []string        // results of TLS handshakes
	left     int             // TLSLeft
	ended    []session.Summary
	plain    []int // status codes
	moves    []reattach.Move
	notKept  int
}

// eachEngine runs f once an engine.
func eachEngine(t *testing.T, f func(t *testing.T, engine string)) {
	t.Helper()
	testkit.EachEngineParallel(t, f)
}

func start(t testing.TB, engine string, s setup) *balancer {
	t.Helper()
	b := &balancer{t: t, log: &testkit.Log{}}
	b.changed = sync.NewCond(&b.mu)
	if s.traced {
		b.traces = make(chan *timing.Trace, 100)
	}
	log := logging.New(b.log, logging.Text, slog.LevelDebug)
	b.registry = pool.New(pool.Options{Logger: log.Logger()})
	if s.maxSessions == 0 {
		s.maxSessions = 100
	}
	b.gate = overload.New(overload.Options{MaxSessions: s.maxSessions})
	b.limiter = limit.New()
	b.engine = newEngine(t, engine, log, b.sessionEnded)
	if s.wrap != nil {
		b.engine = s.wrap(b.engine)
	}
	g := b.generation(s)
	p := proxy.New(proxy.Options{Gate: b.gate, Limiter: b.limiter, Engine: b.engine, Watcher: b, Log: log.Logger(), ACMEChallenge: s.challenge, HTTPDone: b.httpDone, Ended: b.sessionEnded, Release: b.release,
		BackendName: func(id uint32) string { return b.registry.Backend(id).Name }}, g)
	b.proxy = p
	if s.listener.Address == "" {
		s.listener.Address = "127.0.0.1:0"
	}
	if s.listener.MaxSessions == 0 {
		s.listener.MaxSessions = plenty
	}
	ln, err := b.engine.Listen(s.listener, func(c transport.Conn) {
		if s.secure != nil {
			if secure, err := tlsconn.Server(c, s.secure); err != nil {
				c.Close()
			} else {
				p.Serve(secure)
			}
			return
		}
		if s.tls == nil {
			p.Serve(c)
			return
		}
		meta := c.Meta()
		meta.TLS = s.tls
		nc, err := c.Detach()
		if err == nil {
			err = b.engine.Adopt(nc, meta, nil, p.Serve)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Close(ctx)
		b.engine.Close()
		b.registry.Close()
		log.Close()
		// net/http tells of connections that were cut a moment later.
		left := b.gate.Stats()
		for end := time.Now().Add(patience); left.Handshakes+left.Sessions > 0 && time.Now().Before(end); left = b.gate.Stats() {
			runtime.Gosched()
		}
		if left.Handshakes+left.Sessions > 0 {
			t.Errorf("%d handshakes and %d sessions never left the gate; log:\n%s", left.Handshakes, left.Sessions, b.log)
		}
		if n := b.limiter.Stats().Counted; n > 0 {
			t.Errorf("%d places of clients and listeners were never given back; log:\n%s", n, b.log)
		}
		for _, backend := range b.registry.Backends() {
			if n := backend.Sessions(); n != 0 {
				t.Errorf("backend %s: %d leases were never given back", backend.Name, n)
			}
		}
		if !b.mayPanic && strings.Contains(b.log.String(), "panic") {
			t.Errorf("a panic was logged:\n%s", b.log)
		}
	})
	return b
}

func (b *balancer) generation(s setup) *generation.Generation {
	specs := s.pools
	if specs == nil {
		// Round robin by weight begins with the heaviest: with weights that
		// fall steeply, the backends are tried in their order.
		all := pool.Spec{Name: "all", Balance: "least_conn"}
		for i, address := range s.backends {
			all.Backends = append(all.Backends, pool.BackendSpec{Address: address, Weight: 256 >> (2 * i)})
		}
		specs = []pool.Spec{all}
	}
	if s.rules == nil {
		s.rules = []route.Rule{{Pool: "all", Label: "everything"}}
	}
	orPatience := func(d time.Duration) time.Duration {
		if d == 0 {
			return patience
		}
		return d
	}
	if s.policy.Limits == (limit.Rules{}) {
		s.policy.Limits.Sessions.Max = plenty
	}
	g := &generation.Generation{
		Number: 1, Pools: map[string]*generation.Pool{}, Labels: map[string]uint32{},
		Forwarded: &forwarded.Policy{Trust: s.trust, TrustUnix: s.trustUnix, Forwarded: true, Except: s.clientCert.IsReserved}, ClientCert: s.clientCert, Common: s.common, IDs: s.ids,
		Dial:      dial.Dialer{Network: b.engine, Timeout: orPatience(s.connect)},
		Handshake: orPatience(s.handshake),
		// So that connections are closed for a reason.
		HTTPLimits: httpproxy.Limits{Idle: time.Hour}, MaxConnections: s.connections,
	}
	s.policy.Forward = s.forward
	s.policy.Upgrades = s.upgrades
	g.Routes, g.Policies = route.New(s.rules), slices.Repeat([]generation.Policy{s.policy}, len(s.rules))
	g.Listeners = s.listeners
	for i := range g.Policies {
		g.Policies[i].Auth = s.auth
	}
	if s.auth != nil {
		g.Reserved = new(auth.Reserved)
		g.Reserved.Add(s.auth)
	}
	g.OtherUpgrades = len(s.upgrades) > 0
	var err error
	pools, _ := b.registry.Apply(specs)
	for name, p := range pools {
		g.Pools[name] = &generation.Pool{Reattach: s.reattach, ProxyProtocol: s.proxied}
		if g.Pools[name].Picker, err = balance.New(balance.Options{Algorithm: p.Balance}, p.Members); err != nil {
			b.t.Fatal(err)
		}
		if s.admit != nil {
			g.Pools[name].SetAdmit(s.admit)
		}
	}
	return g
}

func (b *balancer) note(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.changed.Broadcast()
}

func (b *balancer) SessionOpened(i session.Info, o proxy.Opened) {
	b.note(func() { b.opened, b.claims = append(b.opened, i), append(b.claims, o.Claims) })
}
func (b *balancer) TLSDone(result string, _ *transport.TLS) {
	b.note(func() { b.secured = append(b.secured, result) })
}
func (b *balancer) TLSLeft()                  { b.note(func() { b.left++ }) }
func (b *balancer) TraceHandshake() bool      { return b.traces != nil }
func (b *balancer) TraceMove(session.ID) bool { return false }

func (b *balancer) HandshakeTraced(t *timing.Trace) { b.traces <- t }

func (b *balancer) AffinityDone(_, result string) {
	b.note(func() { b.affinity = append(b.affinity, result) })
}
func (b *balancer) HandshakeDone(_ proxy.Where, result string, _ time.Duration) {
	b.note(func() { b.results = append(b.results, result) })
}
func (b *balancer) httpDone(_ proxy.Where, status int, _ time.Duration) {
	b.note(func() { b.plain = append(b.plain, status) })
}
func (b *balancer) SessionCame(uint32)           {}
func (b *balancer) SessionMoved(m reattach.Move) { b.note(func() { b.moves = append(b.moves, m) }) }
func (b *balancer) SessionNotKept(session.Info)  { b.note(func() { b.notKept++ }) }
func (b *balancer) release(id uint32) {
	if backend := b.registry.Backend(id); backend != nil {
		backend.Release()
	}
}
func (b *balancer) sessionEnded(s session.Summary) {
	b.release(s.Backend)
	b.proxy.Forget(s.ID)
	b.limiter.Ended(s.ID)
	b.gate.SessionEnded()
	b.note(func() { b.ended = append(b.ended, s) })
}

// wait returns when cond, which is called with the lock held, has come true.
func (b *balancer) wait(what string, cond func() bool) {
	b.t.Helper()
	timer := time.AfterFunc(patience, func() { b.note(func() {}) })
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	b.mu.Lock()
	defer b.mu.Unlock()
	for !cond() {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s never came; results %q, log:\n%s", what, b.results, b.log)
		}
		b.changed.Wait()
	}
}

// waitLog returns when text stands in the log, which is written a moment late.
func (b *balancer) waitLog(text string) {
	b.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(b.log.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("no %q in the log:\n%s", text, b.log)
		}
	}
}

// wantResult waits for the first handshake to be counted, and wants it so.
func (b *balancer) wantResult(want string) {
	b.t.Helper()
	b.wait("a result", func() bool { return len(b.results) > 0 })
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.results) != 1 || b.results[0] != want {
		b.t.Errorf("handshakes counted as %q, want one %q", b.results, want)
	}
}

// client is a raw connection to a balancer.
type client struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func (b *balancer) dial() *client {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &client{nc, b.t, bufio.NewReader(nc)}
}

const key = "dGhlIHNhbXBsZSBub25jZQ=="

// upgrade is a right handshake for target, with further header lines.
func upgrade(target string, more ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: ws.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n" + lines(more) + "\r\n"
}

func lines(fields []string) string {
	text := ""
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text
}

func (c *client) send(text string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// answer reads a response and its body.
func (c *client) answer() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("reading the answer's body: %v", err)
	}
	return resp, string(body)
}

func (c *client) want(status int) (*http.Response, string) {
	c.t.Helper()
	resp, body := c.answer()
	if resp.StatusCode != status {
		c.t.Fatalf("got %s with body %q, want status %d", resp.Status, body, status)
	}
	return resp, body
}

// wantBytes reads exactly want.
func (c *client) wantBytes(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.br, got); err != nil || string(got) != want {
		c.t.Fatalf("read %d bytes (%v), %.80q; want %d, %.80q", n, err, got[:n], len(want), want)
	}
}

// wantEnd wants the balancer to close the connection.
func (c *client) wantEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.br); err != nil || len(rest) > 0 {
		c.t.Fatalf("want the end of the connection, got %q, %v", rest, err)
	}
}

// backend is a server that speaks bytes: handle gets each request with its head.
type backend struct {
	addr string

	mu    sync.Mutex // guards the following
	conns int
	heads []string
}

// peer is a connection of a backend.
type peer struct {
	net.Conn
	br *bufio.Reader
}

func newBackend(t testing.TB, handle func(p *peer, head string)) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: ln.Addr().String()}
	var open sync.Map
	var running sync.WaitGroup
	running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			open.Store(nc, nil)
			b.mu.Lock()
			b.conns++
			b.mu.Unlock()
			running.Go(func() {
				defer nc.Close()
				defer open.Delete(nc)
				p := &peer{nc, bufio.NewReader(nc)}
				for {
					head, err := readHead(p.br)
					if err != nil {
						return
					}
					b.mu.Lock()
					b.heads = append(b.heads, head)
					b.mu.Unlock()
					handle(p, head)
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		open.Range(func(nc, _ any) bool { nc.(net.Conn).Close(); return true })
		running.Wait()
	})
	return b
}

func (b *backend) seen() (conns int, heads []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conns, append(heads, b.heads...)
}

func readHead(br *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := br.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String(), err
		}
	}
}

// field is the value of the only header line of that name in head.
func field(t testing.TB, head, name string) string {
	t.Helper()
	value, n := "", 0
	for line := range strings.SplitSeq(head, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			value, n = strings.TrimSpace(v), n+1
		}
	}
	if n > 1 {
		t.Errorf("%s stands %d times in %q", name, n, head)
	}
	return value
}

// switching is the 101 that answers upgrade.
func switching(more ...string) string { return wspeer.SwitchingProtocols(key, more...) }

// echoing is a backend that accepts every handshake and sends what it is sent
// back, unmasked; it names itself in the 101.
func echoing(t testing.TB, name string) *backend {
	return newBackend(t, func(p *peer, head string) {
		if !strings.Contains(head, "Upgrade: websocket") {
			fmt.Fprintf(p, "HTTP/1.1 200 OK\r\nServer: %s\r\nContent-Length: 5\r\n\r\nplain", name)
			return
		}
		io.WriteString(p, switching("Server: "+name))
		for {
			op, payload, err := readFrame(p.br)
			if err != nil {
				return
			}
			io.WriteString(p, serverFrame(op, payload))
			if op == 8 {
				p.Close()
				return
			}
		}
	})
}

// readFrame reads a frame, masked or not.
func readFrame(r io.Reader) (op byte, payload string, err error) {
	f, _, err := wspeer.ReadFrame(r)
	return f.Op, string(f.Payload), err
}

func serverFrame(op byte, payload string) string {
	return string(wspeer.AppendFrame(nil, wspeer.Frame{Fin: true, Op: op, Payload: []byte(payload)}, false))
}

// clientFrame is masked.
func clientFrame(op byte, payload string) string {
	return string(wspeer.AppendFrame(nil, wspeer.Frame{Fin: true, Op: op, Payload: []byte(payload)}, true))
}

// host and path parse the patterns of a route.
func host(t *testing.T, s string) pattern.Host {
	h, err := pattern.ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func path(t *testing.T, s string) pattern.Path {
	p, err := pattern.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
