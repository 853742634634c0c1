//go:build unix

package https

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// told are the fields that the backends of these tests show.
var told = []string{"X-Forwarded-Proto", "Client-Name", "Client_name", "Client-Verified", "Cookie"}

// startTelling starts a backend that answers /told, plainly or as the first message of
// a WebSocket, with the values of these fields, and anything else with its body.
func startTelling(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []string
		for _, name := range told {
			if values := r.Header[http.CanonicalHeaderKey(name)]; values != nil {
				all = append(all, name+": "+strings.Join(values, "|"))
			}
		}
		text := strings.Join(all, "; ")
		if r.Header.Get("Upgrade") == "" && r.URL.Path == "/told" {
			io.WriteString(w, text)
			return
		}
		if r.Header.Get("Upgrade") == "" {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Trailer", "X-After")
			w.Write(body)
			w.Header().Set("X-After", "yes")
			return
		}
		conn, in, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		ws, err := wspeer.Accept(conn, in.Reader, r)
		if err != nil {
			return
		}
		ws.SendText(text)
		ws.Message() // the client's Close
		ws.SendClose(1000, "")
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// opensslClient makes a certificate for a client with the openssl command. Its
// authority is its own file.
func opensslClient(t *testing.T, subject string) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	run := func(args ...string) {
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v\n%s", args, err, out)
		}
	}
	curve := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"}
	run(append([]string{"req", "-x509", "-days", "2", "-subj", "/CN=clients", "-keyout", "ca.key", "-out", "ca.pem"}, curve...)...)
	run(append([]string{"req", "-new", "-utf8", "-subj", subject, "-keyout", "key.pem", "-out", "csr.pem"}, curve...)...)
	run("x509", "-req", "-days", "2", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "cert.pem")
	return filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// configuration has four listeners: with TLS, redirecting, plain, and with TLS but
// without HTTP/2.
func configuration(engine, clientCA string, own *testca.Pair, more string) string {
	cert, key := own.Files()
	return fmt.Sprintf(`
engine: %s
admin: {address: "127.0.0.1:0"}
listeners:
  - name: public
    address: "127.0.0.1:0"
    tls:
      certificates: [{cert: %q, key: %q}]
      client_ca: %q
      client_auth: optional
      client_headers: {Client-Name: subject, Client-Verified: verified}
  - {name: redirecting, address: "127.0.0.1:0", redirect: https}
  - {name: inner, address: "127.0.0.1:0"}
  - {name: old, address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}], http2: false}}
pools:
  main:
%s
`, engine, cert, key, clientCA, cert, key, more)
}

// listeners are the addresses of a balancer, in their order.
func listeners(t *testing.T, b *kit.Balancer) (all []string) {
	for _, address := range b.FindLog(t, "started", 0)["listeners"].([]any) {
		all = append(all, address.(string))
	}
	return all
}

// TestNode: Node speaks HTTP/2, HTTP/1.1 and WebSockets to one listener. WebSockets by
// HTTP/2 are not offered. Backends are told who the client is, whatever it says.
func TestNode(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	clientCA, cert, key := opensslClient(t, "/O=Acme, Inc./CN=Zoë")
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, configuration(engine, clientCA, ca.Issue("127.0.0.1"), "    backends: [{address: \""+startTelling(t)+"\"}]"))
		cmd := kit.Node(t, "https.js", b.Address, ca.File(), cert, key)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		const client = `X-Forwarded-Proto: https; Client-Name: CN=Zo\\C3\\AB,O=Acme\\, Inc.; Client-Verified: true`
		kit.SameJSON(t, "Node's requests", string(out), `{"alpn": "h2", "connect": false, "first": "`+client+`; Cookie: a=1; b=2",
			"echo": {"status": 200, "bytes": 1048576, "trailer": "yes"}, "head": {"status": 200, "bytes": 0},
			"http1": "`+client+`", "ws": "`+client+`"}`)
		b.Stop(t)
	})
}

// TestPlainListeners: a redirecting listener sends requests and WebSockets to https,
// and on a plain one nobody can say that they have a certificate.
func TestPlainListeners(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	b := kit.StartBalancer(t, configuration("auto", ca.File(), ca.Issue("127.0.0.1"), "    affinity: {cookie: {name: hf}}\n    backends: [{address: \""+startTelling(t)+"\"}]"))
	all := listeners(t, b)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get("http://" + all[1] + "/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if to := res.Header.Get("Location"); res.StatusCode != 308 || to != "https://127.0.0.1/a?b=c" {
		t.Errorf("%s, Location %q", res.Status, to)
	}
	if _, res, err := wspeer.Dial(all[1], "/ws"); err == nil || res == nil || res.StatusCode != 308 {
		t.Errorf("a WebSocket: %v", err)
	}
	b.FindLog(t, "handshake refused", 0, "result=redirected")

	req, _ := http.NewRequest("GET", "http://"+all[2]+"/told", nil)
	req.Header["Client-Name"], req.Header["client_name"] = []string{"CN=6.6.6.6"}, []string{"CN=6.6.6.6"}
	if res, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(body) != "X-Forwarded-Proto: http" {
		t.Errorf("the backend of a plain listener was told %q", body)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	secure, err := (&http.Client{Transport: tr}).Get("https://" + all[0] + "/told")
	if err != nil {
		t.Fatal(err)
	}
	secure.Body.Close()
	if !secure.Cookies()[0].Secure || res.Cookies()[0].Secure {
		t.Errorf("the cookies are %q with TLS, and %q without", secure.Header["Set-Cookie"], res.Header["Set-Cookie"])
	}

	conn, err := net.Dial("tcp", all[2])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	if err := tls.Client(conn, &tls.Config{ServerName: "a"}).Handshake(); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS with a plain listener: %v", err)
	}
	conn.Close()
	if line := b.FindLog(t, "handshake refused", 0, "result=tls_failed"); !strings.Contains(fmt.Sprint(line["error"]), `plain listener "inner"`) {
		t.Errorf("the log says %v", line)
	}

	for i, protocol := range map[int]string{0: "h2", 3: "http/1.1"} {
		secure, err := tls.Dial("tcp", all[i], &tls.Config{RootCAs: ca.Pool(), NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := secure.ConnectionState().NegotiatedProtocol; got != protocol {
			t.Errorf("listener %d agrees on %q, want %q", i, got, protocol)
		}
		secure.Close()
	}
	b.Stop(t)
}

// TestMovedSession: the next backend of a session is told the same about its client.
func TestMovedSession(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	clientCA, cert, key := opensslClient(t, "/CN=me")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		first, second := kit.StartScripted(t), kit.StartScripted(t)
		b := kit.StartBalancer(t, configuration(engine, clientCA, ca.Issue("127.0.0.1"), fmt.Sprintf(`
    reattach: {on: drain}
    drain: {spread: 0s}
    backends: [{name: a, address: %q, weight: 256}, {name: b, address: %q, weight: 1}]`, first.Address, second.Address)))
		conn, err := tls.Dial("tcp", b.Address, &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(testkit.Patience))
		client := wspeer.NewClient(conn)
		opened := make(chan error, 1)
		go func() {
			_, err := client.Handshake("127.0.0.1", "/", []string{"Client-Name: CN=6.6.6.6"})
			opened <- err
		}()
		check := func(h *kit.PendingHandshake) {
			t.Helper()
			if got := h.Header["Client-Name"]; len(got) != 1 || got[0] != "CN=me" || h.Header.Get("X-Forwarded-Proto") != "https" {
				t.Errorf("a backend was told %v", h.Header)
			}
		}
		h := first.Next(t)
		check(h)
		old := h.Accept(t)
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		b.Command(t, 0, "drain", "main/a")
		h = second.Next(t)
		check(h)
		now := h.Accept(t)
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
