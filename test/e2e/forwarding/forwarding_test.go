//go:build unix

package forwarding

import (
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

const target = "/api/x?user=a%0d%0aX-Admin:+1"

// forged are fields of a client that mean to be those of the balancer.
var forged = []string{"X-Request-ID: forged", "traceparent: forged", "X-Who: forged", "X_who: forged", "X-Debug: forged", "X-Forwarded-Prefix: /forged"}

// headOf is what a backend has seen that doesn't depend on the protocol.
func headOf(r *http.Request) string {
	all := r.RequestURI + " at " + r.Host
	for _, name := range []string{"X-Who", "X_who", "X-Debug", "X-Route", "X-Admin", "X-Forwarded-Host", "X-Forwarded-Prefix"} {
		all += "\n" + name + " " + strings.Join(r.Header[name], "|")
	}
	return all
}

// TestForwarding: a route changes the same in a handshake, in HTTP/1.1 and in HTTP/2, and
// again for a session that moves to another backend after a reload. All ids are in the
// log.
func TestForwarding(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	cert, key := ca.Issue("127.0.0.1", "ws.example.com").Files()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		first, second := kit.StartScripted(t), kit.StartScripted(t)
		host, wantHost := "inner:81", "inner:81"
		if engine == "portable" {
			host, wantHost = "${host}:81", "ws.example.com:81"
		}
		configuration := fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}]}}]
admin: {address: "127.0.0.1:0"}
engine: %s
shutdown: {delay: 0}
forwarded: {request_id: true, trace_context: true}
request_headers:
  set: {X-Who: "${client_ip} ${sni} ${tls_version} ${listener} ${query.user} ${search}", X-Session: "${session_id}"}
  remove: [X-Debug]
response_headers:
  set: {Strict-Transport-Security: max-age=1, X-Served: "${pool}/${backend} ${session_id}"}
routes:
  - match: {path: /api}
    pool: main
    request_headers: {add: {X-Route: "${route}"}}
    response_headers: {remove: [Server]}
    rewrite: {host: %q, path_prefix: {from: /api, to: /v2}}
pools:
  main:
    reattach: {on: drain}
    drain: {spread: 0s}
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q, weight: 1}]
`, cert, key, engine, host, first.Address, second.Address)
		b := kit.StartBalancer(t, configuration)
		want := "/v2/x?user=a%0d%0aX-Admin:+1 at " + wantHost + "\n" +
			"X-Who 127.0.0.1 ws.example.com 1.3 public a  X-Admin: 1 ?user=a%0d%0aX-Admin:+1\nX_who \nX-Debug \nX-Route /api\nX-Admin \nX-Forwarded-Host ws.example.com\nX-Forwarded-Prefix "
		check := func(what string, r *http.Request) {
			t.Helper()
			if got := headOf(r); got != want {
				t.Errorf("%s: the backend got\n%s\nwant\n%s", what, got, want)
			}
			if id := r.Header["X-Request-Id"]; len(id) != 1 || len(id[0]) != 20 || len(r.Header.Get("Traceparent")) != 55 {
				t.Errorf("%s: the backend got the ids %q and %q", what, id, r.Header["Traceparent"])
			}
		}
		checkAnswer := func(what string, r *http.Request, h http.Header, session string) {
			t.Helper()
			if h.Get("Strict-Transport-Security") != "max-age=1" || h.Get("X-Served") != strings.TrimSpace("main/a "+session) || h["Server"] != nil ||
				len(h["X-Request-Id"]) != 1 || h.Get("X-Request-Id") != r.Header.Get("X-Request-Id") {
				t.Errorf("%s: the client got %v", what, h)
			}
		}

		for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "ws.example.com"}, ForceAttemptHTTP2: protocol == "HTTP/2.0"}
			req, _ := http.NewRequest("GET", "https://"+b.Address+target, nil)
			req.Host = "ws.example.com"
			for _, line := range forged {
				name, value, _ := strings.Cut(line, ": ")
				req.Header[name] = []string{value}
			}
			asked := make(chan *http.Request, 1)
			go func() {
				h := <-first.Pending
				io.WriteString(h.Conn, "HTTP/1.1 200 OK\r\nServer: theirs\r\nX-Served: theirs\r\nX-Request-ID: theirs\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				asked <- h.Request
			}()
			res, err := (&http.Client{Transport: tr, Timeout: testkit.Patience}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			tr.CloseIdleConnections()
			r := <-asked
			check(protocol, r)
			checkAnswer(protocol, r, res.Header, "")
			if res.Proto != protocol {
				t.Errorf("spoke %s, not %s", res.Proto, protocol)
			}
		}

		conn, err := net.Dial("tcp", b.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(testkit.Patience))
		client := wspeer.NewClient(tls.Client(conn, &tls.Config{RootCAs: ca.Pool(), ServerName: "ws.example.com"}))
		opened := make(chan error, 1)
		var res *http.Response
		go func() {
			var err error
			res, err = client.Handshake("ws.example.com", target, forged)
			opened <- err
		}()
		h := first.Next(t)
		asked := h.Request
		old := h.Accept(t, "Server: theirs", "X-Request-ID: theirs")
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		session := asked.Header.Get("Holdfast-Session")
		check("a handshake", asked)
		checkAnswer("a handshake", asked, res.Header, session)
		if id := asked.Header.Get("X-Session"); id != session {
			t.Errorf("the backend got the session ids %q and %q", id, session)
		}
		b.FindLog(t, "session open", 0, "id="+session, "request_id="+asked.Header.Get("X-Request-Id"), "trace_id="+asked.Header.Get("Traceparent")[3:35])

		b.WriteConfig(t, strings.ReplaceAll(configuration, "/v2", "/v3"))
		b.Reload(t, "reloaded")
		b.Command(t, 0, "drain", "main/a")
		h = second.Next(t)
		now := h.Accept(t)
		h.RequestURI = strings.Replace(h.RequestURI, "/v3", "/v2", 1)
		check("a moved session", h.Request)
		for _, name := range []string{"X-Request-Id", "Traceparent", "X-Session"} {
			if got, want := h.Header.Get(name), asked.Header.Get(name); got != want {
				t.Errorf("the second backend got %s %q, the first one %q", name, got, want)
			}
		}
		kit.WantClose(t, "the first backend", old, 1012)
		old.Close()
		if err := now.SendText("hello"); err != nil {
			t.Fatal(err)
		}
		kit.WantMessages(t, "the client", client, "hello")
		if err := client.SendClose(1000, ""); err != nil {
			t.Fatal(err)
		}
		kit.WantClose(t, "the second backend", now, 1000)
		now.Close()
		b.Stop(t)
	})
}
