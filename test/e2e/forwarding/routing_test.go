//go:build unix

package forwarding

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestRouting: redirects, answers and other paths by the built balancer, in HTTP/1.1, in
// HTTP/2 and for handshakes; the path of a session that moves; and an answer of a backend
// that is passed over.
func TestRouting(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	cert, key := ca.Issue("127.0.0.1", "ws.example.com").Files()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		first, second := kit.StartScripted(t), kit.StartScripted(t)
		configuration := fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}]}}]
admin: {address: "127.0.0.1:0"}
engine: %s
shutdown: {delay: 0}
forwarded: {x_forwarded: false}
response_headers: {set: {Strict-Transport-Security: max-age=1}}
routes:
  - match: {path_regex: "^/old/([a-z]+)/(.*)$"}
    redirect: {to: "https://${host}/new/$2/$1?${query}", status: 301}
  - match: {path_begins: /down, not: [{header: {X-Key: "~^secret-[0-9]+$"}}]}
    respond: {status: 503, body: "Back soon.\n", content_type: "text/x-sign; charset=utf-8"}
  - match: {path_regex: "^/rooms/([0-9]+)/ws$"}
    pool: main
    rewrite: {path: /ws/$1}
    request_headers: {set: {X-Forwarded-For: "${forwarded_for}", X-Asked: "${uri}"}}
  - match: {path_exact: /taken}
    pool: main
pools:
  main:
    balance: first
    retry_on: [500, 502-504]
    reattach: {on: drain}
    drain: {spread: 0s}
    backends: [{name: a, address: %q, max_sessions: 10}, {name: b, address: %q}]
`, cert, key, engine, first.Address, second.Address)
		b := kit.StartBalancer(t, configuration)
		config := &tls.Config{RootCAs: ca.Pool(), ServerName: "ws.example.com"}
		// get asks in one of three ways, and returns the answer's status, Location,
		// Content-Type, Strict-Transport-Security and body.
		get := func(protocol, target string, fields ...string) (answer string) {
			t.Helper()
			req, err := http.NewRequest("GET", "https://"+b.Address+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "ws.example.com"
			for _, line := range fields {
				name, value, _ := strings.Cut(line, ": ")
				req.Header.Set(name, value)
			}
			var res *http.Response
			if protocol == "handshake" {
				for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
					req.Header.Set(name, value)
				}
				conn, err := tls.Dial("tcp", b.Address, config)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(testkit.Patience))
				if err := req.Write(conn); err != nil {
					t.Fatal(err)
				}
				if res, err = http.ReadResponse(bufio.NewReader(conn), req); err != nil {
					t.Fatal(err)
				}
			} else {
				tr := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: protocol == "HTTP/2.0"}
				defer tr.CloseIdleConnections()
				if res, err = tr.RoundTrip(req); err != nil {
					t.Fatal(err)
				}
				if res.Proto != protocol {
					t.Errorf("spoke %s, not %s", res.Proto, protocol)
				}
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			h := res.Header
			return fmt.Sprintf("%d %s %s %s %s", res.StatusCode, h.Get("Location"), h.Get("Content-Type"), h.Get("Strict-Transport-Security"), body)
		}
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0", "handshake"} {
			for target, want := range map[string]string{
				"/old/a/b%20c?d=%0d%0aX:1": "301 https://ws.example.com/new/b%20c/a?d=%0d%0aX:1 text/plain; charset=utf-8 max-age=1 ",
				"/old/a//evil.example":     "400 ",
				"/downtown":                "503  text/x-sign; charset=utf-8 max-age=1 Back soon.\n",
				"/d%6Fwn%2f..":             "400 ",
				"/nowhere":                 "404 ",
			} {
				if got := get(protocol, target); !strings.HasPrefix(got, want) {
					t.Errorf("%s, %s: %q, want %q", protocol, target, got, want)
				}
			}
			if got := get(protocol, "/down", "X-Key: secret-12"); !strings.HasPrefix(got, "404 ") {
				t.Errorf("%s, with the key: %q", protocol, got)
			}
		}
		b.FindLog(t, "handshake refused", 0, "result=redirected", "path=/old/a/b%20c")
		b.FindLog(t, "handshake refused", 0, "result=responded", "path=/downtown")

		// A handshake that the first backend declines goes to the second, and moves back.
		conn, err := net.Dial("tcp", b.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(testkit.Patience))
		client := wspeer.NewClient(tls.Client(conn, config))
		opened := make(chan error, 1)
		go func() {
			_, err := client.Handshake("ws.example.com", "/rooms/17/ws?a=b", []string{"X-Forwarded-For: 203.0.113.9"})
			opened <- err
		}()
		check := func(what string, r *http.Request) {
			t.Helper()
			if r.RequestURI != "/ws/17?a=b" || r.Header.Get("X-Asked") != "/rooms/17/ws?a=b" || r.Header.Get("X-Forwarded-For") != "203.0.113.9, 127.0.0.1" {
				t.Errorf("%s: %s with %v", what, r.RequestURI, r.Header)
			}
		}
		h := first.Next(t)
		check("the first backend", h.Request)
		io.WriteString(h.Conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nnot now")
		h = second.Next(t)
		check("the second backend", h.Request)
		old := h.Accept(t)
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		b.FindLog(t, "a backend's answer to a handshake is passed over", 0, "backend=a", "status=503")

		b.WriteConfig(t, strings.ReplaceAll(configuration, "rewrite: {path: /ws/$1}", "rewrite: {path: '/ws/${1}'}"))
		b.Reload(t, "reloaded")
		b.Command(t, 0, "drain", "main/b")
		h = first.Next(t)
		now := h.Accept(t)
		check("after the move", h.Request)
		kit.WantClose(t, "the second backend", old, 1012)
		old.Close()
		if err := now.SendText("hello"); err != nil {
			t.Fatal(err)
		}
		kit.WantMessages(t, "the client", client, "hello")
		if err := client.SendClose(1000, ""); err != nil {
			t.Fatal(err)
		}
		kit.WantClose(t, "the first backend", now, 1000)
		now.Close()

		// A route that answers itself after a reload, on a connection that is kept.
		b.WriteConfig(t, strings.Replace(configuration, "path_exact: /taken}\n    pool: main", "path_exact: /taken}\n    respond: {status: 410, body: gone}", 1))
		b.Reload(t, "reloaded")
		if got := get("HTTP/2.0", "/taken"); !strings.HasPrefix(got, "410 ") || !strings.HasSuffix(got, "gone") {
			t.Errorf("after the reload: %q", got)
		}
		b.Stop(t)
	})
}
