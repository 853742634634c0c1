package proxy_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/access"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

func networksOf(all ...string) (parsed []netip.Prefix) {
	for _, s := range all {
		parsed = append(parsed, netip.MustParsePrefix(s))
	}
	return parsed
}

func addresses(allow, deny []netip.Prefix) generation.Access {
	return generation.Access{Addresses: access.Addresses{Allow: allow, Deny: deny}}
}

func admitting(t *testing.T, patterns ...string) *access.Origins {
	o := &access.Origins{}
	for _, s := range patterns {
		p, err := origin.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		o.Allow = append(o.Allow, p)
	}
	return o
}

// TestOrigins: a page of another site can't open a WebSocket, unless the route, or else
// the listener, says so. The host is the one that the client sees. Plain HTTP is the
// backend's own business.
func TestOrigins(t *testing.T) {
	proxies := networksOf("127.0.0.0/8")
	for _, c := range []struct {
		name            string
		route, listener *access.Origins
		trust           []netip.Prefix
		fields          []string
		status          int
	}{
		{"the same site", nil, nil, nil, []string{"Origin: https://app.example.com:8443"}, 101},
		{"no origin", nil, nil, nil, nil, 101},
		{"another site", nil, nil, nil, []string{"Origin: https://evil.example"}, 403},
		{"two origins", nil, nil, nil, []string{"Origin: https://app.example.com", "Origin: https://app.example.com"}, 403},
		{"the listener's list", nil, admitting(t, "https://evil.example"), nil, []string{"Origin: https://evil.example"}, 101},
		{"the route's list comes first", admitting(t, "same_site"), admitting(t, "any"), nil, []string{"Origin: https://evil.example"}, 403},
		{"any", admitting(t, "any"), nil, nil, []string{"Origin: https://evil.example"}, 101},
		{"required", &access.Origins{Required: true}, nil, nil, nil, 403},
		{"the host by a trusted proxy", nil, nil, proxies, []string{"Origin: https://a.other.example", "X-Forwarded-Host: b.other.example"}, 101},
		{"the host by Forwarded", nil, nil, proxies, []string{"Origin: https://a.other.example", "Forwarded: for=192.0.2.1;host=b.other.example"}, 101},
		{"not the proxy's own host", nil, nil, proxies, []string{"Origin: https://app.example.com", "X-Forwarded-Host: b.other.example"}, 403},
		{"the host by a stranger", nil, nil, nil, []string{"Origin: https://a.other.example", "X-Forwarded-Host: b.other.example"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "a")
				b := start(t, engine, setup{backends: []string{server.addr}, trust: c.trust, listener: transport.ListenerSpec{Name: "public"},
					policy:    generation.Policy{Access: generation.Access{Origins: c.route}},
					listeners: map[string]*generation.ListenerPolicy{"public": {Access: generation.Access{Origins: c.listener}}}})
				kept := b.dial()
				kept.send("GET / HTTP/1.1\r\nHost: ws.example.com\r\n" + lines(c.fields) + "\r\n").want(200)
				for _, client := range []*client{b.dial(), kept} {
					_, body := client.send(upgrade("/", c.fields...)).want(c.status)
					if c.status == 403 && !strings.Contains(body, "origins") {
						t.Errorf("the client is told %q", body)
					}
				}
				b.wantResults(2, map[int]string{101: "opened", 403: "origin_refused"}[c.status])
				if c.status == 403 {
					b.waitLog("result=origin_refused")
				}
				if _, heads := server.seen(); len(heads) != map[int]int{101: 3, 403: 1}[c.status] {
					t.Errorf("the backend was sent %q", heads)
				}
			})
		})
	}
}

// TestAddresses: the lists of the listener and of the route hold for WebSockets and for
// each request of plain HTTP, by the client's address.
func TestAddresses(t *testing.T) {
	const client = "X-Forwarded-For: 192.0.2.7"
	proxies, net := networksOf("127.0.0.0/8"), networksOf("192.0.2.0/24")
	for _, c := range []struct {
		name            string
		route, listener generation.Access
		trust           []netip.Prefix
		ws, plain       int
	}{
		{"none", generation.Access{}, generation.Access{}, nil, 101, 200},
		{"denied by the route", addresses(nil, proxies), generation.Access{}, nil, 403, 403},
		{"not allowed by the route", addresses(net, nil), generation.Access{}, nil, 403, 403},
		{"allowed by the route", addresses(net, nil), generation.Access{}, proxies, 101, 200},
		{"denied behind a proxy", addresses(nil, net), generation.Access{}, proxies, 403, 403},
		{"denied by the listener behind a proxy", generation.Access{}, addresses(nil, net), proxies, 403, 403},
		{"allowed by both", addresses(net, nil), addresses(net, nil), proxies, 101, 200},
		{"allowed by one", addresses(net, nil), addresses(nil, net), proxies, 403, 403},
		{"the proxy itself doesn't count", generation.Access{}, addresses(net, proxies), proxies, 101, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "a")
				b := start(t, engine, setup{backends: []string{server.addr}, trust: c.trust, listener: transport.ListenerSpec{Name: "public"},
					policy:    generation.Policy{Access: c.route},
					listeners: map[string]*generation.ListenerPolicy{"public": {Access: c.listener}}})
				b.dial().send(upgrade("/", client)).want(c.ws)
				kept := b.dial()
				for range 2 { // both by net/http, the second on a connection that it has kept
					_, body := kept.send("GET / HTTP/1.1\r\nHost: a\r\n" + client + "\r\n\r\n").want(c.plain)
					if c.plain == 403 && !strings.Contains(body, "allow and deny") {
						t.Errorf("the client is told %q", body)
					}
				}
				kept.send(upgrade("/", client)).want(c.ws)
				if c.ws == 403 {
					b.wantResults(2, "address_refused")
					b.waitLog(`msg="plain HTTP request failed" status=403`)
					b.waitLog("the address 1")
				}
				if _, heads := server.seen(); len(heads) != map[int]int{101: 4, 403: 0}[c.ws] {
					t.Errorf("the backend was sent %q", heads)
				}
			})
		})
	}
}

// TestAddressesOfListener: who isn't admitted by the listener is refused before the TLS
// handshake, in whatever the client can read, and takes no place from others.
func TestAddressesOfListener(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		denied := &generation.ListenerPolicy{Access: addresses(nil, networksOf("127.0.0.0/8"))}
		listener, config := onTLS(t, false)
		b := start(t, engine, setup{listener: listener, listeners: map[string]*generation.ListenerPolicy{"public": denied}})
		err := tls.Client(b.dial().Conn, config).Handshake()
		if err == nil || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("the TLS client sees %v", err)
		}
		b.wantResult("address_refused")

		// Without TLS; the policy comes with the listener, which the generation doesn't
		// know.
		b = start(t, engine, setup{listener: transport.ListenerSpec{Name: "new", Policy: denied}})
		for _, request := range []string{"", upgrade("/"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
			b.dial().send(request).want(403)
		}
		b.wantResults(3, "address_refused")
		if n := b.gate.Stats().Handshakes; n != 0 {
			t.Errorf("%d handshakes are under way", n)
		}
	})
}

// TestAddressesOverHTTP2: they hold for each request of a connection, also after a reload.
func TestAddressesOverHTTP2(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := newBackend(t, func(p *peer, head string) {
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			p.Close()
		})
		s := setup{backends: []string{server.addr}, listener: transport.ListenerSpec{Name: "public"}, tls: &transport.TLS{Protocol: "h2"},
			trust: networksOf("127.0.0.0/8"), policy: generation.Policy{Access: addresses(nil, networksOf("192.0.2.0/24"))}}
		b := start(t, engine, s)
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		get := func(client string) int {
			req, _ := http.NewRequest("GET", "http://"+b.addr+"/x", nil)
			req.Header.Set("X-Forwarded-For", client)
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			io.Copy(io.Discard, res.Body)
			return res.StatusCode
		}
		if got := get("203.0.113.1"); got != 200 {
			t.Errorf("status %d", got)
		}
		if got := get("192.0.2.1"); got != 403 {
			t.Errorf("who is denied gets %d", got)
		}
		s.policy = generation.Policy{}
		s.listeners = map[string]*generation.ListenerPolicy{"public": {Access: addresses(networksOf("192.0.2.0/24"), nil)}}
		b.proxy.Swap(b.generation(s))
		if got := get("203.0.113.1"); got != 403 {
			t.Errorf("who isn't allowed after a reload gets %d", got)
		}
		if got := get("192.0.2.1"); got != 200 {
			t.Errorf("who is allowed after a reload gets %d", got)
		}
	})
}

// TestConditions: WebSockets and plain HTTP, by HTTP/1.1 and on a connection that is kept,
// go by the same conditions.
func TestConditions(t *testing.T) {
	text := func(s string) route.Named {
		name, value, _ := strings.Cut(s, "=")
		return named(t, name, value)
	}
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		b := start(t, engine, setup{backends: []string{server.addr}, listener: transport.ListenerSpec{Name: "public"}, rules: []route.Rule{
			{Pool: "none", When: &route.Conditions{Listener: "inner"}},
			{Pool: "none", When: &route.Conditions{Methods: []string{"PUT"}}},
			{Pool: "all", When: &route.Conditions{Listener: "public", Methods: []string{"GET"}, Headers: []route.Named{text("x-tier=go*")}, Query: []route.Named{text("room=a b")}}},
		}})
		for _, c := range []struct {
			target string
			fields []string
			ok     bool
			status int // if not ok
		}{
			{"/?room=a+b", []string{"X-Tier: gold"}, true, 0},
			{"/?x&r%6fom=a%20b", []string{"x-tier: go"}, true, 0},
			{"/?room=a+b", []string{"X-Tier: silver"}, false, 404},
			{"/?room=c", []string{"X-Tier: gold"}, false, 404},
			{"/", []string{"X-Tier: gold"}, false, 404},
			{"/?room=a+b&room=c", []string{"X-Tier: gold"}, false, 400},
			{"/?room=a+b", []string{"X-Tier: gold", "X-Tier: silver"}, false, 400},
		} {
			status := func(ok int) int {
				if c.ok {
					return ok
				}
				return c.status
			}
			kept := b.dial()
			kept.send("GET " + c.target + " HTTP/1.1\r\nHost: a\r\n" + lines(c.fields) + "\r\n").want(status(200))
			kept.send(upgrade(c.target, c.fields...)).want(status(101))
			b.dial().send(upgrade(c.target, c.fields...)).want(status(101))
		}
		b.dial().send("POST /?room=a+b HTTP/1.1\r\nHost: a\r\nX-Tier: gold\r\nContent-Length: 0\r\n\r\n").want(404)
	})
}

// TestSubprotocolsOfRoute: those that the route doesn't list are kept from backends, and a
// client that offers no other is refused.
func TestSubprotocolsOfRoute(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		b := start(t, engine, setup{backends: []string{server.addr}, policy: generation.Policy{Subprotocols: []string{"v1", "v2"}}})
		b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: secret, v2, v1")).want(101)
		if _, heads := server.seen(); field(t, heads[0], "Sec-WebSocket-Protocol") != "v2, v1" {
			t.Errorf("the backend was sent %q", heads)
		}
		for _, fields := range [][]string{nil, {"Sec-WebSocket-Protocol: v3"}} {
			_, body := b.dial().send(upgrade("/", fields...)).want(403)
			if !strings.Contains(body, "subprotocols") {
				t.Errorf("the client is told %q", body)
			}
		}
		b.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").want(200)
	})
}

// wantResults waits for that many handshakes to be counted, and wants them all so.
func (b *balancer) wantResults(n int, want string) {
	b.t.Helper()
	b.wait("results", func() bool { return len(b.results) >= n })
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.results) != n || strings.Join(b.results, " ") != strings.TrimSpace(strings.Repeat(want+" ", n)) {
		b.t.Errorf("handshakes counted as %q, want %d times %q", b.results, n, want)
	}
}

// named is a condition for a value.
func named(t *testing.T, name, value string) route.Named {
	text, err := pattern.ParseValue(value)
	if err != nil {
		t.Fatal(err)
	}
	return route.Named{Name: name, Value: text}
}

// TestSubprotocolsOfMove: another backend is offered what was agreed on, and of what the
// route lists nothing else.
func TestSubprotocolsOfMove(t *testing.T) {
	one, two := answering(t, switching("Sec-WebSocket-Protocol: v2")), answering(t, switching("Sec-WebSocket-Protocol: v2"))
	b, e := still(t, setup{backends: []string{one.addr, two.addr}, policy: generation.Policy{Subprotocols: []string{"v1", "v2"}}})
	b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: v3, v1, v2")).want(101)
	b.wantMove(e, b.moving(session.Drain), "moved")
	_, first := one.seen()
	_, second := two.seen()
	if got := [2]string{field(t, first[0], "Sec-WebSocket-Protocol"), field(t, second[0], "Sec-WebSocket-Protocol")}; got != [2]string{"v1, v2", "v2"} {
		t.Errorf("the backends were offered %q", got)
	}
}
