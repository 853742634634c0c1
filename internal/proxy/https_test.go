package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
)

// secured is a setup whose clients speak TLS, and what a client needs for it.
func secured(t *testing.T, protocols ...string) (setup, *tls.Config) {
	ca := testca.New(t)
	cfg := tlsconn.NewConfig(&tls.Config{Certificates: []tls.Certificate{ca.Issue("ws.example.com").TLS}, NextProtos: []string{"h2", "http/1.1"},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.Pool()})
	s := setup{secure: cfg, listener: transport.ListenerSpec{Name: "public"},
		clientCert: clientcert.New(map[string][]clientcert.Field{"public": {{Name: "Client-Name", Fact: clientcert.Subject}}})}
	return s, &tls.Config{RootCAs: ca.Pool(), ServerName: "ws.example.com", NextProtos: protocols,
		Certificates: []tls.Certificate{ca.Issue("me").TLS}}
}

// TestHTTP2OverTLS: bodies of any size pass in both directions, and the backend is
// told about the client's certificate.
func TestHTTP2OverTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := newBackend(t, func(p *peer, head string) {
			req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), p.br)))
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(req.Body)
			(&http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
				Header: http.Header{"X-Was": {field(t, head, "Client-Name") + " " + field(t, head, "X-Forwarded-Proto")}}}).Write(p)
		})
		s, client := secured(t)
		s.backends = []string{server.addr}
		b := start(t, engine, s)
		tr := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		for range 3 {
			res, err := (&http.Client{Transport: tr, Timeout: patience}).Post("https://"+b.addr+"/", "text/plain", bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || !bytes.Equal(body, content) || res.ProtoMajor != 2 || res.Header.Get("X-Was") != "CN=me https" {
				t.Errorf("%s, %d bytes, %v, %v", res.Proto, len(body), res.Header, err)
			}
		}
	})
}

// TestWebSocketAfterPlainHTTPOverTLS: a handshake on a connection that was kept
// alive comes back from net/http with its TLS.
func TestWebSocketAfterPlainHTTPOverTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		s, cfg := secured(t, "http/1.1")
		s.backends = []string{server.addr}
		b := start(t, engine, s)
		c := b.dial()
		secure := tls.Client(c.Conn, cfg)
		c.Conn, c.br = secure, bufio.NewReader(secure)
		for range 2 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").want(200)
		}
		// The first frame comes with the handshake, and goes the same way.
		c.send(upgrade("/") + clientFrame(1, "early")).want(101)
		c.wantBytes(serverFrame(1, "early"))
		c.send(clientFrame(1, "hello")).wantBytes(serverFrame(1, "hello"))
		c.send(clientFrame(8, "\x03\xe8")).wantBytes(serverFrame(8, "\x03\xe8"))
		c.wantEnd()
		_, heads := server.seen()
		for _, head := range heads {
			if field(t, head, "X-Forwarded-Proto") != "https" || field(t, head, "Client-Name") != "CN=me" {
				t.Errorf("the backend was sent\n%s", head)
			}
		}
		if len(heads) != 3 {
			t.Errorf("the backend was sent %q", heads)
		}
	})
}
