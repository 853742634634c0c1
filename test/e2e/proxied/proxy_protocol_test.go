//go:build unix

package proxied

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	goproxyproto "github.com/pires/go-proxyproto"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// listener replaces the listener of a file by one with more keys.
func listener(file, keys string) string {
	_, rest, _ := strings.Cut(file, "\n")
	return "listeners: [{name: public, address: \"127.0.0.1:0\"" + keys + "}]\n" + rest
}

const trustLocal = ", proxy_protocol: {trust: [127.0.0.0/8]}"

// from connects as a proxy whose client has an address.
func from(t testing.TB, address string, version byte, client string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	source, err := net.ResolveTCPAddr("tcp", client)
	if err != nil {
		t.Fatal(err)
	}
	header := goproxyproto.HeaderProxyFromAddrs(version, source, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 2), Port: 443})
	if _, err := header.WriteTo(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestProxyProtocol: a client's address goes through two balancers to a backend that
// requires a header, as do checks. The one in front passes on what another proxy has said.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		server := serve(t, "a", listenTCP(t), true)
		second := kit.StartBalancer(t, listener(proxied(engine, server.address, "v2"), trustLocal))
		first := kit.StartBalancer(t, listener(proxied(engine, second.Address, "v1"), trustLocal))

		w := wspeer.NewClient(from(t, first.Address, 2, "203.0.113.9:1234"))
		if _, err := w.Handshake("chat.example", "/ws", nil); err != nil {
			t.Fatalf("%v; the log of the second:\n%s", err, second.Stderr)
		}
		kit.WantEcho(t, w, "hello")
		plain := from(t, first.Address, 1, "203.0.113.9:1235")
		for range 2 {
			io.WriteString(plain, "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
			if text := readAnswer(t, plain); text != "a" {
				t.Errorf("got %q", text)
			}
		}
		if got := server.of("/ws"); len(got) != 1 || got[0].client != "203.0.113.9:1234" || got[0].forwardedFor != "203.0.113.9" {
			t.Errorf("the backend saw %+v", got)
		}
		if got := server.of("/plain"); len(got) != 2 || got[0].client != "203.0.113.9:1235" || got[1] != got[0] {
			t.Errorf("the backend saw %+v", got)
		}
		for _, b := range []*kit.Balancer{first, second} {
			b.FindLog(t, "session open", 0, "client=203.0.113.9:1234")
			if _, body := b.Get(t, "/v1/sessions"); !strings.Contains(body, "203.0.113.9:1234") {
				t.Errorf("sessions: %s", body)
			}
			testkit.Eventually(t, "the backend is up by its checks", func() bool { return b.Pool(t, "main").Backends[0].State == "up" })
		}
		checks := server.of("/health")
		if len(checks) == 0 || !slices.ContainsFunc(checks, func(a ask) bool { return strings.HasPrefix(a.client, "127.0.0.1:") && a.agent == "holdfast-health" }) {
			t.Errorf("checks: %+v", checks)
		}
	})
}

// proxied is a file whose pool has proxy_protocol, and a check by HTTP.
func proxied(engine, backend, version string) string {
	file := kit.Settings{Engine: engine, Backends: []string{backend}}.YAML()
	return strings.Replace(file, "  main:\n", fmt.Sprintf("  main:\n    proxy_protocol: %s\n    health: {http: {path: /health}, interval: 1h, timeout: 3m}\n", version), 1)
}

func readAnswer(t testing.TB, conn net.Conn) string {
	t.Helper()
	w := wspeer.NewClient(conn)
	res, err := http.ReadResponse(w.In, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestStrangers: who isn't a proxy gets nothing, and a flood of them is one line. A reload
// lets them in; then a header is a malformed request, and the log says what to do.
func TestStrangers(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		server := serve(t, "a", listenTCP(t), false)
		file := kit.Settings{Engine: engine, Backends: []string{server.address}}.YAML()
		b := kit.StartBalancer(t, listener(file, ", proxy_protocol: {trust: [192.0.2.0/24]}"))
		const many = 600 // of alike lines, a hundred are written at once and few after them
		for range many {
			conn := from(t, b.Address, 2, "203.0.113.9:1")
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Fatalf("read %d bytes, %v", n, err)
			}
		}
		b.AwaitMetrics(t, "all were counted", func(m kit.Metrics) bool {
			return m[`holdfast_handshakes_total{backend="",pool="",result="proxy_stranger"}`] == many
		})
		entry := b.FindLog(t, "handshake refused", 0, "result=proxy_stranger")
		if text := fmt.Sprint(entry["error"]); !strings.Contains(text, "127.0.0.1 is not in proxy_protocol.trust") {
			t.Errorf("%v", entry)
		}
		if n := len(b.LogEntries("handshake refused")); n > many/2 {
			t.Errorf("%d lines", n)
		}
		b.WriteConfig(t, listener(file, ""))
		b.Reload(t, kit.Reloaded)
		conn := from(t, b.Address, 1, "203.0.113.9:1")
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, err := http.ReadResponse(wspeer.NewClient(conn).In, nil); err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%v, %v", res, err)
		}
		entry = b.FindLog(t, "handshake refused", 0, "result=bad_request")
		if text := fmt.Sprint(entry["error"]); !strings.Contains(text, "proxy_protocol.trust") {
			t.Errorf("%v", entry)
		}
		if got := server.of("/"); len(got) != 0 {
			t.Errorf("the backend saw %+v", got)
		}
	})
}
