//go:build unix

package access

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// listeners are the addresses of a balancer, in their order.
func listeners(t *testing.T, b *kit.Balancer) (all []string) {
	for _, address := range b.FindLog(t, "started", 0)["listeners"].([]any) {
		all = append(all, address.(string))
	}
	return all
}

// pools has a pool of one server for each name.
func pools(servers []*kit.NamedBackend) string {
	var b strings.Builder
	b.WriteString("pools:\n")
	for _, s := range servers {
		fmt.Fprintf(&b, "  %s: {backends: [{address: %q}]}\n", s.Name, s.Address)
	}
	return b.String()
}

// refused wants a handshake and a plain request to get a status. The result is that of
// the handshake.
func refused(t *testing.T, b *kit.Balancer, address, path string, status int, result string, header ...string) {
	t.Helper()
	before := b.Stderr.Position()
	if _, res, err := wspeer.Dial(address, path, header...); err == nil || res == nil || res.StatusCode != status {
		t.Errorf("a WebSocket for %s %q: %v, want %d", path, header, err, status)
		return
	}
	b.FindLog(t, "handshake refused", before, "result="+result)
	if _, res := kit.AnsweredByHTTP(t, address, path, header...); res.StatusCode != status {
		t.Errorf("plain HTTP for %s %q: %s, want %d", path, header, res.Status, status)
	}
}

// TestAddressesAndRoutes: clients are admitted by their addresses, through proxies that
// are trusted, and find their pools by what they send and where they come.
func TestAddressesAndRoutes(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := kit.StartAllNamed(t, "gold", "room", "inner", "rest")
		b := kit.StartBalancer(t, fmt.Sprintf(`
engine: %s
admin: {address: "127.0.0.1:0"}
forwarded: {trust: [127.0.0.1]}
listeners:
  - {name: public, address: "127.0.0.1:0", deny: [192.0.2.0/25]}
  - {name: inner, address: "127.0.0.1:0"}
  - {name: closed, address: "127.0.0.1:0", allow: [10.0.0.0/8]}
routes:
  - {match: {path: /both, header: {X-Tier: gold}, query: {room: "a*"}}, pool: gold}
  - {match: {header: {X-Tier: "go*"}}, pool: gold}
  - {match: {query: {room: "a b"}}, pool: room}
  - {match: {listener: inner}, pool: inner}
  - {match: {method: [GET, PUT], path: /few}, pool: rest, allow: ["2001:db8::/32", 198.51.100.7], deny: ["2001:db8:9::/48"]}
  - {match: {method: GET}, pool: rest, subprotocols: [v2, v1]}
%s`, engine, pools(servers)))
		all := listeners(t, b)
		from := func(address string) string { return "X-Forwarded-For: " + address }
		const offer = "Sec-WebSocket-Protocol: v3, v1, v2"
		for _, c := range []struct {
			address, path string
			header        []string
			backend       string
		}{
			{all[0], "/", []string{"X-Tier: gold"}, "gold"},
			{all[0], "/both?room=abc", []string{"x-tier: gold"}, "gold"},
			{all[0], "/?x=1&r%6fom=a+b", nil, "room"},
			{all[1], "/?room=ab", nil, "inner"},
			{all[0], "/", []string{offer}, "rest"},
			{all[0], "/few", []string{from("2001:db8::1"), offer}, "rest"},
			{all[0], "/few/x", []string{from("198.51.100.7"), offer}, "rest"},
			{all[2], "/", []string{from("10.1.2.3"), offer}, "rest"},
		} {
			got, res := kit.ServedBy(t, c.address, c.path, c.header...)
			if got != c.backend || c.backend == "rest" && strings.HasPrefix(c.path, "/few") == (res.Header.Get("Sec-WebSocket-Protocol") == "v1") {
				t.Errorf("%s %q: a session on %q with %v, want %q", c.path, c.header, got, res.Header, c.backend)
			}
			if got, _ := kit.AnsweredByHTTP(t, c.address, c.path, c.header...); got != c.backend {
				t.Errorf("%s %q: answered by %q, want %q", c.path, c.header, got, c.backend)
			}
		}
		refused(t, b, all[0], "/few", 403, "address_refused", from("198.51.100.8"))
		refused(t, b, all[0], "/few", 403, "address_refused", from("2001:db8:9::1"))
		refused(t, b, all[0], "/", 403, "address_refused", from("192.0.2.1"), offer)
		refused(t, b, all[2], "/", 403, "address_refused", from("192.0.2.200"), offer)
		refused(t, b, all[0], "/?room=a+b&room=c", 400, "ambiguous")
		if _, res, err := wspeer.Dial(all[0], "/", "Sec-WebSocket-Protocol: v3"); err == nil || res.StatusCode != 403 {
			t.Errorf("a WebSocket with another subprotocol: %v", err)
		}
		b.FindLog(t, "handshake refused", 0, "result=subprotocol_refused")

		// The route is named so that it can't be confused with another.
		b.FindLog(t, "session open", 0, "route=header:X-Tier")
		b.FindLog(t, "session open", 0, "route=/both header:X-Tier query:room")

		// What is malformed changes nothing.
		b.WriteConfig(t, "listeners: [{address: \"127.0.0.1:0\", origins: [https://a.example/x]}]\npools: {a: {backends: [{address: \"a:1\"}]}}\n")
		if e := fmt.Sprint(b.Reload(t, kit.ReloadRefused)["error"]); !strings.Contains(e, "holdfast.yaml:1:48: bad origin") {
			t.Errorf("a malformed origin: %s", e)
		}
		kit.WantOneLine(t, kit.Run(t, "check", "-c", b.File), 2, "bad origin", "has no path")
		kit.WantOneLine(t, kit.Run(t, "run", "-c", b.File), 2, "bad origin", "has no path")

		// From now on, the balancer's own machine is no proxy, and refused by the listener.
		b.WriteConfig(t, fmt.Sprintf(`
engine: %s
admin: {address: "127.0.0.1:0"}
listeners:
  - {name: public, address: "127.0.0.1:0", allow: [10.0.0.0/8]}
%s`, engine, pools(servers[:1])))
		b.Reload(t, kit.Reloaded)
		refused(t, b, all[0], "/", 403, "address_refused", from("10.0.0.1"))
		b.FindLog(t, "handshake refused", 0, "error=the address 127.0.0.1 is not in allow of the listener")
		b.Stop(t)
	})
}

// TestClientCertificates: clients find their pools by their certificates.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	id, err := url.Parse("spiffe://example.com/ws/1")
	if err != nil {
		t.Fatal(err)
	}
	service := ca.IssueLike(func(c *x509.Certificate) { c.URIs = []*url.URL{id} }, "service")
	known, device, stranger := ca.Issue("known.example.com"), ca.Issue("one.devices.example.com"), ca.Issue("stranger.example.com")
	print := fmt.Sprintf("%x", sha256.Sum256(known.TLS.Certificate[0]))
	servers := kit.StartAllNamed(t, "known", "devices", "services", "named", "anonymous")
	cert, key := ca.Issue("127.0.0.1").Files()
	b := kit.StartBalancer(t, fmt.Sprintf(`
admin: {address: "127.0.0.1:0"}
listeners:
  - {address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}], client_ca: %q, client_auth: optional}}
routes:
  - {match: {client_cert: {fingerprint: %q}}, pool: known}
  - {match: {client_cert: {dns: "*.devices.example.com"}}, pool: devices}
  - {match: {client_cert: {uri: "spiffe://example.com/ws/*"}}, pool: services}
  - {match: {client_cert: {verified: true, cn: ["stranger.*"]}}, pool: named}
  - {match: {client_cert: {verified: false}}, pool: anonymous}
%s`, cert, key, ca.File(), print, pools(servers)))
	for _, c := range []struct {
		client *testca.Pair
		want   string
	}{{known, "known"}, {device, "devices"}, {service, "services"}, {stranger, "named"}, {nil, "anonymous"}} {
		config := &tls.Config{RootCAs: ca.Pool()}
		if c.client != nil {
			config.Certificates = []tls.Certificate{c.client.TLS}
		}
		// HTTP/2, and a WebSocket.
		tr := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
		res, err := (&http.Client{Transport: tr, Timeout: testkit.Patience}).Get("https://" + b.Address + "/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		tr.CloseIdleConnections()
		conn, err := tls.Dial("tcp", b.Address, config)
		if err != nil {
			t.Fatal(err)
		}
		ws, err := wspeer.NewClient(conn).Handshake(b.Address, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got := [2]string{res.Header.Get("X-Backend"), ws.Header.Get("X-Backend")}; res.ProtoMajor != 2 || got != [2]string{c.want, c.want} {
			t.Errorf("%s: answered by %q, want %q", res.Proto, got, c.want)
		}
	}
	b.Stop(t)
}
