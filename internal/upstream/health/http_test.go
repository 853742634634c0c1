package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// plenty is a timeout that no check comes near, brief one that tests wait for.
const (
	plenty = 2 * time.Minute
	brief  = 150 * time.Millisecond
)

// ask runs one check against addr.
func ask(t *testing.T, c CheckSpec, timeout time.Duration, addr string) result {
	t.Helper()
	return askAs(t, c, timeout, "", addr)
}

// askAs is ask for a backend with another configured address.
func askAs(t *testing.T, c CheckSpec, timeout time.Duration, configured, addr string) result {
	t.Helper()
	at := hostport.At(netip.MustParseAddrPort(addr))
	if configured == "" {
		configured = addr
	}
	dns := &noDNS{ip: []netip.Addr{at.TCP.Addr()}}
	r := pool.New(pool.Options{Resolver: dns})
	defer r.Close()
	pools, _ := r.Apply(chat(configured))
	s := Spec{Checks: []CheckSpec{c}, Timeout: timeout}
	probe := newChecks((&net.Dialer{}).DialContext, pools["chat"].Members[0], s)[0]
	ctx, cancel := context.WithTimeout(t.Context(), s.Timeout)
	defer cancel()
	return probe.run(ctx, at)
}

// raw is a TCP server that calls f for each connection.
func raw(t *testing.T, f func(conn *net.TCPConn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				f(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

// head reads the head of a request.
func head(conn net.Conn) string {
	r := bufio.NewReader(conn)
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		text.WriteString(line)
		if err != nil || line == "\r\n" {
			return text.String()
		}
	}
}

// untilGone waits until the other end closes.
func untilGone(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// saying sends text on each connection and closes it.
func saying(t *testing.T, text string) string {
	return raw(t, func(conn *net.TCPConn) {
		head(conn)
		_, _ = io.WriteString(conn, text)
		_ = conn.CloseWrite()
		untilGone(conn)
	})
}

// flooding sends begin, and then piece forever.
func flooding(t *testing.T, begin, piece string) string {
	return raw(t, func(conn *net.TCPConn) {
		head(conn)
		_, err := io.WriteString(conn, begin)
		for err == nil {
			_, err = io.WriteString(conn, piece)
		}
	})
}

func resetting(conn *net.TCPConn) { head(conn); _ = conn.SetLinger(0) }

func (a result) String() string {
	text := [...]string{"failed", "passed", "drains"}[a.verdict] + ": " + a.reason
	if a.reportsLoad {
		text += fmt.Sprintf("; capacity %.3g", a.capacity)
	}
	if a.problem != "" {
		text += "; " + a.problem
	}
	return text
}

func TestHTTPStatuses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.Header().Set("Location", "/200")
		if load := r.URL.Query().Get("load"); load != "" {
			w.Header().Set("Holdfast-Load", load)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	for _, test := range []struct {
		spec HTTP
		want string
	}{
		{HTTP{Path: "/200"}, "passed: status 200; capacity 1"},
		{HTTP{Path: "/204"}, "passed: status 204; capacity 1"},
		{HTTP{Path: "/500"}, "failed: status 500, want 200-299; capacity 1"},
		{HTTP{Path: "/302"}, "failed: status 302, want 200-299; capacity 1"},
		{HTTP{Path: "/302", Expect: []StatusRange{{301, 302}}}, "passed: status 302; capacity 1"},
		{HTTP{Path: "/204", Expect: []StatusRange{{200, 200}, {300, 302}}}, "failed: status 204, want 200, 300-302; capacity 1"},
		{HTTP{Path: "/503"}, "drains: status 503; capacity 1"},
		{HTTP{Path: "/503", Expect: []StatusRange{{200, 200}, {503, 503}}}, "passed: status 503; capacity 1"},
		{HTTP{Path: "/200", Method: "HEAD"}, "passed: status 200; capacity 1"},
		{HTTP{Path: "/200?load=0.75"}, "passed: status 200; capacity 0.25"},
		{HTTP{Path: "/200?load=40%25"}, "passed: status 200; capacity 0.6"},
		{HTTP{Path: "/200?load=1"}, "passed: status 200; capacity 0.01"},
		{HTTP{Path: "/503?load=0.9"}, "drains: status 503; capacity 0.1"},
		{HTTP{Path: "/200?load=much"}, `passed: status 200; capacity 1; Holdfast-Load: "much" is neither a number from 0 to 1 nor a percentage; the last valid one stays in force`},
		{HTTP{Path: "no/slash"}, `failed: parse "no/slash": invalid URI for request`},
	} {
		if got := ask(t, test.spec, plenty, server.Listener.Addr().String()).String(); got != test.want {
			t.Errorf("%+v\ngot  %s\nwant %s", test.spec, got, test.want)
		}
	}
}

func TestHTTPRequest(t *testing.T) {
	var asked string
	addr := raw(t, func(conn *net.TCPConn) {
		asked = head(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 204 \r\n\r\n")
	})
	for _, test := range []struct {
		spec HTTP
		want string
	}{
		{HTTP{}, "GET / HTTP/1.1|Host: ws1.internal:3000|User-Agent: holdfast-health|Connection: close"},
		{
			HTTP{Path: "/health?deep=1", Method: "OPTIONS", Host: "chat.example", Headers: [][2]string{{"X-A", "1"}, {"X-A", "2"}, {"user-agent", "me"}}},
			"OPTIONS /health?deep=1 HTTP/1.1|Host: chat.example|User-Agent: me|Connection: close|X-A: 1|X-A: 2",
		},
		{HTTP{Method: "HEAD"}, "HEAD / HTTP/1.1|Host: ws1.internal:3000|User-Agent: holdfast-health|Connection: close"},
		{HTTP{Method: "POST"}, "POST / HTTP/1.1|Host: ws1.internal:3000|User-Agent: holdfast-health|Connection: close|Content-Length: 0"},
	} {
		a := askAs(t, test.spec, plenty, "ws1.internal:3000", addr)
		if got := strings.ReplaceAll(strings.TrimSpace(asked), "\r\n", "|"); got != test.want || a.verdict != passed {
			t.Errorf("asked\n%s\nwant\n%s\n%v", got, test.want, a)
		}
	}
}

func TestHTTPFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for _, test := range []struct {
		name, addr string
		timeout    time.Duration
		want       string
	}{
		{"nobody listens", nobody, plenty, "failed: connect to " + nobody + ": connection refused"},
		{"accepts and is silent", raw(t, func(c *net.TCPConn) { untilGone(c) }), brief, "failed: no answer within 150ms"},
		{"resets", raw(t, resetting), plenty, "failed: connection reset by peer"},
		{"closes", saying(t, ""), plenty, "failed: closed without a whole answer"},
		{"half a head", saying(t, "HTTP/1.1 200 OK\r\nX-A: b\r\n"), plenty, "failed: closed without a whole answer"},
		{"stops in its body", raw(t, func(c *net.TCPConn) {
			head(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
			untilGone(c)
		}), brief, "failed: status 200, then no answer within 150ms; capacity 1"},
		{"cuts its body", saying(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), plenty, "failed: status 200, then closed without a whole answer; capacity 1"},
		{"endless head", flooding(t, "HTTP/1.1 200 OK\r\n", "X-More: of this\r\n"), plenty, "failed: the head of its answer is longer than 64 KiB"},
		{"endless line", flooding(t, "HTTP/1.1 200 OK\r\nX: ", "more "), plenty, "failed: the head of its answer is longer than 64 KiB"},
		{"endless interim answers", flooding(t, "", "HTTP/1.1 103 Early Hints\r\n\r\n"), plenty, "failed: the head of its answer is longer than 64 KiB"},
		{"endless body", flooding(t, "HTTP/1.1 200 OK\r\n\r\n", "more "), plenty, "passed: status 200; capacity 1"},
		{"endless tiny chunks", flooding(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"), plenty, "passed: status 200; capacity 1"},
		{"interim answer first", saying(t, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Not Now\r\nHoldfast-Load: 1\r\n\r\n"), plenty, "drains: status 503; capacity 0.01"},
		{"HTTP/1.0, to the end", saying(t, "HTTP/1.0 200 OK\r\n\r\nfine"), plenty, "passed: status 200; capacity 1"},
		{"something else", saying(t, "SSH-2.0-OpenSSH_9.6\r\n"), plenty, `failed: malformed HTTP response "SSH-2.0-OpenSSH_9.6"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ask(t, HTTP{}, test.timeout, test.addr).String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestHTTPBody: the text must be in the first 64 KiB of a body that is whole.
func TestHTTPBody(t *testing.T) {
	const most = 64 << 10
	pad := func(n int) string { return strings.Repeat(".", n) }
	for _, test := range []struct {
		name, answer, want string
	}{
		{"there", "HTTP/1.1 200 OK\r\n\r\n{\"state\":\"ok\"}", "passed: status 200"},
		{"in two chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n:\"ok\r\n2\r\n\"}\r\n0\r\n\r\n", "passed: status 200"},
		{"not there", "HTTP/1.1 200 OK\r\n\r\n{\"state\":\"bad\"}", `failed: status 200, and ":\"ok\"" is not in its body`},
		{"no body", "HTTP/1.1 204 OK\r\n\r\n", `failed: status 204, and ":\"ok\"" is not in its body`},
		{"at the end", "HTTP/1.1 200 OK\r\n\r\n" + pad(most-5) + `:"ok"`, "passed: status 200"},
		{"behind it", "HTTP/1.1 200 OK\r\n\r\n" + pad(most-4) + `:"ok"`, `failed: status 200, and ":\"ok\"" is not in its body`},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n:\"ok\"", "failed: status 200, then closed without a whole answer"},
		{"another status", "HTTP/1.1 404 No\r\n\r\n:\"ok\"", "failed: status 404, want 200-299"},
		{"draining", "HTTP/1.1 503 No\r\n\r\n:\"ok\"", "drains: status 503"},
	} {
		if got := ask(t, HTTP{Body: `:"ok"`}, plenty, saying(t, test.answer)).String(); got != test.want+"; capacity 1" {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestPort: checks connect to a port of their own, that of the backend before that of the
// pool.
func TestPort(t *testing.T) {
	port := func(addr string) int { return int(netip.MustParseAddrPort(addr).Port()) }
	web := saying(t, "HTTP/1.1 200 OK\r\n\r\n")
	for _, test := range []struct{ pool, backend int }{{port(web), 0}, {0, port(web)}, {1, port(web)}} {
		for _, address := range []string{"127.0.0.1:1", "unix:/nothing/here.sock"} {
			r := pool.New(pool.Options{})
			pools, _ := r.Apply([]pool.Spec{{Name: "chat", Backends: []pool.BackendSpec{{Address: address, HealthPort: test.backend}}}})
			m := pools["chat"].Members[0]
			addr, _ := m.Backend.Addr()
			s := Spec{Checks: []CheckSpec{HTTP{}, TCP{}}, Port: test.pool, Timeout: plenty}
			for i, c := range newChecks((&net.Dialer{}).DialContext, m, s) {
				if got := c.run(t.Context(), addr); got.verdict != passed {
					t.Errorf("%+v, %s, check %d: %v", test, address, i, got)
				}
			}
			r.Close()
		}
	}
}

// TestPortOfOtherAddress: if one address of a name has nothing at the port of the checks,
// the other is tried, and sessions still go to both.
func TestPortOfOtherAddress(t *testing.T) {
	b := twoAddresses(t)
	c := &connector{backend: b, port: 8081, timeout: plenty, dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		if addr != "10.0.0.2:8081" {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		here, there := net.Pipe()
		there.Close()
		return here, nil
	}}
	for range 6 {
		addr, _ := b.Addr()
		if a := (&tcpCheck{c}).run(t.Context(), addr); a.verdict != passed {
			t.Errorf("%+v", a)
		}
	}
	seen := map[hostport.Endpoint]bool{}
	for range 4 {
		addr, _ := b.Addr()
		seen[addr] = true
	}
	if len(seen) != 2 {
		t.Errorf("sessions go to %v only", seen)
	}
}

func TestTCP(t *testing.T) {
	silent := raw(t, func(c *net.TCPConn) { untilGone(c) })
	if got := ask(t, TCP{}, plenty, silent).String(); got != "passed: connected" {
		t.Error(got)
	}
	s := Spec{Checks: []CheckSpec{TCP{}}, Timeout: brief}
	r := pool.New(pool.Options{})
	defer r.Close()
	pools, _ := r.Apply(chat(a1))
	probe := newChecks(func(ctx context.Context, _, _ string) (net.Conn, error) { // a network that swallows packets
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}, pools["chat"].Members[0], s)[0]
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	if got, want := probe.run(ctx, hostport.At(netip.MustParseAddrPort(a1))).String(), "failed: connect to 10.0.0.1:80: no answer within 150ms"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A server that listens on one of its name's addresses is up, and sessions need not
// try the other.
func TestOtherAddressOfAName(t *testing.T) {
	b := twoAddresses(t)
	dials := 0
	c := &connector{backend: b, timeout: plenty, dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		dials++
		if addr == "10.0.0.1:80" {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		here, there := net.Pipe()
		there.Close()
		return here, nil
	}}
	for range 10 {
		addr, _ := b.Addr()
		if got := (&tcpCheck{c}).run(t.Context(), addr); got.verdict != passed {
			t.Fatal(got)
		}
	}
	if dials != 11 {
		t.Errorf("%d dials for 10 checks, want the deaf address to have been tried once", dials)
	}
}

// twoAddresses is a backend whose name resolves to 10.0.0.1 and 10.0.0.2.
func twoAddresses(t *testing.T) *pool.Backend {
	r := pool.New(pool.Options{Resolver: &noDNS{ip: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}}})
	t.Cleanup(r.Close)
	pools, _ := r.Apply(chat("ws.internal:80"))
	return pools["chat"].Members[0].Backend
}

// The end of a check's context is not an address's fault.
func TestCheckThatIsCutShort(t *testing.T) {
	b := twoAddresses(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := &connector{backend: b, timeout: plenty, dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		return nil, ctx.Err()
	}}
	addr, _ := b.Addr()
	(&tcpCheck{c}).run(ctx, addr)
	seen := map[hostport.Endpoint]bool{}
	for range 4 {
		addr, _ := b.Addr()
		seen[addr] = true
	}
	if len(seen) != 2 {
		t.Errorf("the balancer goes to %v only", seen)
	}
}

func TestAgentOnOneAddress(t *testing.T) {
	b := twoAddresses(t)
	c := &connector{backend: b, timeout: plenty, dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		if addr != "10.0.0.2:8081" {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		here, there := net.Pipe()
		go func() { _, _ = io.WriteString(there, "up\n"); there.Close() }()
		return here, nil
	}}
	for range 6 {
		addr, _ := b.Addr()
		if a := (&agentCheck{c, Agent{Port: 8081}}).run(t.Context(), addr); a.problem != "" || a.reply.health != up {
			t.Errorf("%+v", a)
		}
	}
}

func TestAgent(t *testing.T) {
	port := func(addr string) int { return int(netip.MustParseAddrPort(addr).Port()) }
	asked := ""
	echo := raw(t, func(c *net.TCPConn) {
		buf := make([]byte, 100)
		n, _ := c.Read(buf)
		asked = string(buf[:n])
		_, _ = io.WriteString(c, "up 75%\n")
	})
	if a := ask(t, Agent{Port: port(echo), Send: "ws1\n"}, plenty, "127.0.0.1:1"); a.problem != "" || a.reply != (agentReply{hasPercent: true, percent: 75, health: up}) || asked != "ws1\n" {
		t.Errorf("%+v, asked %q", a, asked)
	}
	silent := raw(t, func(c *net.TCPConn) { untilGone(c) })
	if got := ask(t, Agent{Port: port(silent)}, brief, "127.0.0.1:1").problem; got != "no answer within 150ms; its last reply stays in force" {
		t.Error(got)
	}
	web := saying(t, "HTTP/1.1 400 Bad Request\r\n\r\n")
	if got := ask(t, Agent{Port: port(web), Send: "\r\n"}, plenty, "127.0.0.1:1").problem; !strings.HasPrefix(got, `it says "HTTP/1.1", which is ignored: want`) {
		t.Error(got)
	}
}
