package httpproxy

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	goproxyproto "github.com/pires/go-proxyproto"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
)

// headerBackend answers with who its header says has connected. It requires one, before
// TLS.
type headerBackend struct {
	addr         netip.AddrPort
	conns, ended atomic.Int64
}

func newHeaderBackend(t *testing.T, config *tls.Config) *headerBackend {
	b := &headerBackend{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }))
	b.addr = netip.MustParseAddrPort(s.Listener.Addr().String())
	s.Listener = &goproxyproto.Listener{Listener: s.Listener, ReadHeaderTimeout: testkit.Patience}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			b.conns.Add(1)
		case http.StateClosed:
			b.ended.Add(1)
		}
	}
	s.TLS = config
	if config != nil {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return b
}

// TestHeader: each connection begins with a header, before TLS. It is used again only for
// the client's connection that it is about, one at a time, and ends with that.
func TestHeader(t *testing.T) {
	ca := testca.New(t)
	for _, secure := range []bool{false, true} {
		for _, http2 := range []bool{false, true} {
			var config *tls.Config
			if secure {
				config = &tls.Config{Certificates: []tls.Certificate{ca.Issue("chat.internal").TLS}}
			}
			b := newHeaderBackend(t, config)
			r := startRig(t, Options{}, ServerOptions{IsPlain: isPlainOn}, http2, b.addr)
			if secure {
				r.upstream.tls, r.upstream.host = tlsClient(t, backendtls.Options{CA: ca.File()}), "chat.internal"
			}
			r.upstream.header = func(r *http.Request) string {
				return "PROXY TCP4 " + r.Header.Get("Client") + " 198.51.100.2 1 2\r\n"
			}
			tr := &http.Transport{Protocols: new(http.Protocols)}
			tr.Protocols.SetHTTP1(!http2)
			tr.Protocols.SetUnencryptedHTTP2(http2)
			get := func(client string) {
				t.Helper()
				req, _ := http.NewRequest("GET", "http://"+r.addr+"/", nil)
				req.Header.Set("Client", client)
				res, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != client+":1" {
					t.Errorf("the backend answers %d %q, %v, want %s", res.StatusCode, body, err, client)
				}
			}
			for _, client := range []string{"203.0.113.1", "203.0.113.1", "203.0.113.2", "203.0.113.1", "203.0.113.1"} {
				get(client)
			}
			want := int64(3) // a change of client each
			if http2 {
				want = 5
			}
			if got := b.conns.Load(); got != want {
				t.Errorf("TLS %t, HTTP/2 %t: %d connections, want %d", secure, http2, got, want)
			}
			tr.CloseIdleConnections()
			testkit.Eventually(t, "all connections to the backend end", func() bool { return b.ended.Load() == want })
		}
	}
}
