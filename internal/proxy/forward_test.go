package proxy_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

func edits(t testing.TB, s headeredit.Spec) *headeredit.Edits {
	t.Helper()
	e, err := headeredit.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// everyVariable has all variables in a field for backends, and one in an answer.
func everyVariable(t *testing.T) *generation.Forward {
	return &generation.Forward{
		Label: "a route",
		Request: edits(t, headeredit.Spec{
			Set: [][2]string{
				{"X-All", "${client_ip}|${client_port}|${host}|${scheme}|${sni}|${tls_version}|${listener}|${route}|${pool}|${header.x-a}|${header.Host}|${query.q}|${cookie.c}"},
				{"X-Session", "${session_id}"}, {"X-User", "holdfast"}, {"X-None", "${claim.none}"},
			},
			Add: [][2]string{{"X-A", "2"}}, Remove: []string{"X-Secret"},
		}),
		Answer: edits(t, headeredit.Spec{
			Set:    [][2]string{{"Strict-Transport-Security", "max-age=1"}, {"X-Backend", "${pool}/${backend}"}},
			Remove: []string{"Server"},
		}),
		Host: []byte("inner:81"), Path: &pattern.Rewrite{From: path(t, "/api"), To: path(t, "/")},
	}
}

// The fields of a client that everyVariable looks at, and tries to forge.
var edited = []string{"X-A: 1", "Cookie: c=d", "X_User: root", "x-user: root", "X-Secret: s", "X-None: forged", "X-Forwarded-For: 203.0.113.7"}

// checkEdited checks what a backend got of a request for /api/x?q=%0d%0aX:y with edited.
func checkEdited(t *testing.T, what, head, session string) {
	t.Helper()
	if !strings.HasPrefix(head, "GET /x?q=%0d%0aX:y HTTP/1.1\r\nHost: inner:81\r\n") {
		t.Errorf("%s: the backend was asked for\n%s", what, head)
	}
	for name, want := range map[string]string{
		"X-All":              "203.0.113.7||ws.example.com|https|a.example|1.3|public|a route|all|1|ws.example.com|  X:y|d",
		"X-Forwarded-Host":   "ws.example.com",
		"X-Forwarded-Prefix": "/api",
		"X-User":             "holdfast",
		"X_User":             "", "X-Secret": "", "X-None": "",
		"X-Session": session,
	} {
		if got := field(t, head, name); got != want {
			t.Errorf("%s: the backend got %s: %q, want %q", what, name, got, want)
		}
	}
	if strings.Count(head, "\r\nX-A: 1\r\n") != 1 || strings.Count(head, "\r\nX-A: 2\r\n") != 1 {
		t.Errorf("%s: the backend got\n%s", what, head)
	}
}

// checkAnswer checks what everyVariable makes of an answer.
func checkAnswer(t *testing.T, what string, header http.Header, backend string) {
	t.Helper()
	if header.Get("Strict-Transport-Security") != "max-age=1" || header.Get("X-Backend") != "all/"+backend {
		t.Errorf("%s: the client got %v, want the backend %q", what, header, backend)
	}
	if header["Server"] != nil && backend != "" {
		t.Errorf("%s: the client got %v", what, header)
	}
}

// TestForward: what a route changes, for a handshake, for plain HTTP, and in answers.
func TestForward(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "theirs")
		s := setup{
			backends: []string{server.addr}, forward: everyVariable(t),
			trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, listener: transport.ListenerSpec{Name: "public"},
			tls: &transport.TLS{Version: tls.VersionTLS13, ServerName: "a.example"},
		}
		b := start(t, engine, s)
		const target = "/api/x?q=%0d%0aX:y"
		c := b.dial().send(upgrade(target, edited...))
		resp, _ := c.want(101)
		checkAnswer(t, "a 101", resp.Header, server.addr)
		b.wait("a session", func() bool { return len(b.opened) == 1 })
		_, heads := server.seen()
		checkEdited(t, "a handshake", heads[0], b.opened[0].ID.String())

		resp, _ = b.dial().send("GET " + target + " HTTP/1.1\r\nHost: ws.example.com\r\n" + lines(edited) + "\r\n").want(200)
		checkAnswer(t, "an answer", resp.Header, server.addr)
		_, heads = server.seen()
		checkEdited(t, "plain HTTP", heads[1], "")

		// A path that servers could disagree about.
		for _, request := range []string{upgrade("/api//evil.example"), "GET /api//evil.example HTTP/1.1\r\nHost: a\r\n\r\n"} {
			resp, _ := b.dial().send(request).want(400)
			if resp.Header.Get("Location") != "" {
				t.Errorf("the client got %v", resp.Header)
			}
		}
		if _, heads := server.seen(); len(heads) != 2 {
			t.Errorf("the backend got %q", heads[2:])
		}
	})
}

// TestForwardTrailers: a field that a route sets can't come as a trailer, either.
func TestForwardTrailers(t *testing.T) {
	got := make(chan http.Header, 1)
	server := newBackend(t, func(p *peer, head string) {
		body := readChunked(t, p)
		got <- http.Header{"Head": {head}, "Rest": {body}}
		io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	b := start(t, "portable", setup{backends: []string{server.addr}, forward: everyVariable(t)})
	b.dial().send("POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-User, X-Mine\r\n\r\n" +
		"1\r\na\r\n0\r\nX-User: root\r\nX-Mine: 1\r\n\r\n").want(200)
	h := <-got
	if strings.Contains(h.Get("Rest"), "root") || strings.Contains(h.Get("Head"), "Trailer: X-User") || !strings.Contains(h.Get("Rest"), "X-Mine: 1") {
		t.Errorf("the backend got %v", h)
	}
}

// readChunked reads a chunked body with its trailers, as it came.
func readChunked(t *testing.T, p *peer) string {
	t.Helper()
	var all strings.Builder
	for last := false; ; {
		line, err := p.br.ReadString('\n')
		if err != nil {
			t.Error(err)
			return ""
		}
		all.WriteString(line)
		if line == "\r\n" && last {
			return all.String()
		}
		last = last || line == "0\r\n"
	}
}

// TestOwnAnswers: an answer of the balancer's own has the fields that the route sets and
// adds, once the route is known; its own fields stay.
func TestOwnAnswers(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		f := everyVariable(t)
		f.Answer = edits(t, headeredit.Spec{
			Set: [][2]string{{"Strict-Transport-Security", "max-age=1"}, {"X-Backend", "${pool}/${backend}"}, {"Content-Type", "image/png"}, {"Retry-After", "0"}},
			Add: [][2]string{{"Vary", "A"}},
		})
		b := start(t, engine, setup{backends: []string{answering(t, "nonsense\r\n\r\n").addr}, forward: f, rules: []route.Rule{{Host: host(t, "ws.example.com"), Pool: "all"}},
			ids: requestid.Policy{RequestID: true}})
		for _, request := range []string{upgrade("/"), "GET / HTTP/1.1\r\nHost: ws.example.com\r\n\r\n"} {
			resp, _ := b.dial().send(request).want(502)
			if h := resp.Header; h.Get("Strict-Transport-Security") == "" || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") || h.Get("Vary") != "A" ||
				len(h["X-Backend"]) != 1 || len(h.Get("X-Request-ID")) != 20 {
				t.Errorf("the client got %v", h)
			}
			request = strings.Replace(request, "ws.example.com", "other.example", 1)
			resp, _ = b.dial().send(request).want(404)
			if h := resp.Header; h.Get("Strict-Transport-Security") != "" || len(h.Get("X-Request-ID")) != 20 {
				t.Errorf("without a route the client got %v", h)
			}
		}
	})
}

// TestMovedSession: another backend gets the same as the first one, by the configuration
// of now, and if the route is gone, by that of before.
func TestMovedSession(t *testing.T) {
	s := setup{
		forward: everyVariable(t), ids: requestid.Policy{RequestID: true, TraceContext: true}, reattach: always,
		trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, listener: transport.ListenerSpec{Name: "public"},
		tls:   &transport.TLS{Version: tls.VersionTLS13, ServerName: "a.example"},
		rules: []route.Rule{{Path: path(t, "/api"), Pool: "all", Label: "/api"}},
	}
	first, second := echoing(t, "first"), answering(t, switching())
	s.backends = []string{first.addr, second.addr}
	b, e := still(t, s)
	b.dial().send(upgrade("/api/x?q=%0d%0aX:y", append(edited, "X-Request-ID: from-the-proxy")...)).want(101)
	m := b.moving(session.Drain)
	_, heads := first.seen()
	id := m.Info.ID.String()
	checkEdited(t, "the first backend", heads[0], id)
	moved := func(what string) (head string) {
		t.Helper()
		m.Attempt++
		b.wantMove(e, m, "moved")
		_, heads := second.seen()
		return heads[len(heads)-1]
	}
	same := func(what, head string) {
		t.Helper()
		checkEdited(t, what, head, id)
		for _, name := range []string{"X-Request-ID", "traceparent"} {
			if got, want := field(t, head, name), field(t, heads[0], name); got != want || got == "" {
				t.Errorf("%s got %s: %q, the first one %q", what, name, got, want)
			}
		}
	}
	same("the second backend", moved("a move"))

	swap := func(s setup) {
		g := b.generation(s)
		g.Labels = map[string]uint32{"/api": m.Info.Route, "/other": 99}
		b.proxy.Swap(g)
	}
	gone := s
	gone.forward, gone.rules = nil, []route.Rule{{Path: path(t, "/other"), Pool: "all", Label: "/other"}}
	swap(gone)
	same("a backend after the route has gone", moved("a move"))

	changed := s
	changed.forward = &generation.Forward{Request: edits(t, headeredit.Spec{Set: [][2]string{{"X-User", "new"}}})}
	swap(changed)
	if head := moved("a move"); field(t, head, "X-User") != "new" || field(t, head, "X-All") != "" || !strings.HasPrefix(head, "GET /api/x?") {
		t.Errorf("after a reload the backend got\n%s", head)
	}
}

// TestIDs: the same ids are in requests, in answers and in the log.
func TestIDs(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		declining := newBackend(t, func(p *peer, head string) {
			io.WriteString(p, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nX-Request-ID: theirs\r\n\r\n")
		})
		b := start(t, engine, setup{backends: []string{declining.addr}, ids: requestid.Policy{RequestID: true, TraceContext: true}})
		for i, request := range []string{upgrade("/", "X-Request-ID: forged", "traceparent: forged"), "GET / HTTP/1.1\r\nHost: a\r\nX_Request_ID: forged\r\n\r\n"} {
			resp, _ := b.dial().send(request).want(403)
			_, heads := declining.seen()
			id := field(t, heads[i], "X-Request-ID")
			if got := resp.Header["X-Request-Id"]; len(got) != 1 || got[0] != id || len(id) != 20 {
				t.Errorf("the client got the ids %q, the backend %q", got, id)
			}
			if strings.Contains(heads[i], "forged") || len(field(t, heads[i], "traceparent")) != 55 {
				t.Errorf("the backend got\n%s", heads[i])
			}
			if i == 0 {
				b.waitLog("request_id=" + id + " trace_id=" + field(t, heads[i], "traceparent")[3:35])
			}
		}
	})
}

// TestRouteTimeouts: a route's own timeouts count.
func TestRouteTimeouts(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		silent := newBackend(t, func(p *peer, _ string) { io.Copy(io.Discard, p.br) })
		b := start(t, engine, setup{backends: []string{silent.addr}, forward: &generation.Forward{Answered: 50 * time.Millisecond, Response: 50 * time.Millisecond}})
		b.dial().send(upgrade("/")).want(504)
		b.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").want(504)
		b = start(t, engine, setup{backends: []string{silent.addr}, forward: &generation.Forward{Whole: 50 * time.Millisecond}})
		b.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").want(504)

		server := echoing(t, "s")
		b = start(t, engine, setup{backends: []string{server.addr}, policy: generation.Policy{Session: &relay.Limits{Lifetime: 50 * time.Millisecond}}})
		b.dial().send(upgrade("/")).want(101)
		b.wait("its end", func() bool { return len(b.ended) == 1 && b.ended[0].Cause == session.MaxLifetime })
	})
}
