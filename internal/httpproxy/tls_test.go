package httpproxy

import (
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
)

// tlsBackend is an HTTPS server, which answers with what it was sent. It counts
// connections and those of them that resumed a session.
type tlsBackend struct {
	addr             netip.AddrPort
	conns, resumed   atomic.Int64
	closeConnections atomic.Bool
}

func newTLSBackend(t *testing.T, config *tls.Config) *tlsBackend {
	b := &tlsBackend{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.closeConnections.Load() {
			w.Header().Set("Connection", "close")
		}
		body, _ := io.ReadAll(r.Body) // or net/http's server closes the connection
		w.Write(append(body, r.URL.Path...))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	config.VerifyConnection = func(c tls.ConnectionState) error {
		b.conns.Add(1)
		if c.DidResume {
			b.resumed.Add(1)
		}
		return nil
	}
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	b.addr = netip.MustParseAddrPort(s.Listener.Addr().String())
	return b
}

func tlsClient(t *testing.T, o backendtls.Options) TLS {
	t.Helper()
	o.Pool = "chat"
	c, err := backendtls.New(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTLSBackend: connections are kept alive with TLS, and new ones resume the
// session. Another TLS doesn't use them.
func TestTLSBackend(t *testing.T) {
	ca := testca.New(t)
	b := newTLSBackend(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("chat.internal").TLS}})
	r := newRig(t, Options{}, nil, b.addr)
	r.upstream.tls, r.upstream.host = tlsClient(t, backendtls.Options{CA: ca.File()}), "chat.internal"
	for range 3 {
		if res, body := r.get("/a"); res.StatusCode != 200 || body != "/a" {
			t.Fatalf("%d %q", res.StatusCode, body)
		}
	}
	long := strings.Repeat("0123456789", 100_000)
	res, err := r.client().Post(r.url("/b"), "text/plain", strings.NewReader(long))
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, res); got != long+"/b" {
		t.Errorf("%d bytes came back, want %d", len(got), len(long)+2)
	}
	if n := b.conns.Load(); n != 1 {
		t.Errorf("%d connections were made for four requests", n)
	}
	b.closeConnections.Store(true)
	for range 3 {
		r.get("/c")
	}
	if conns, resumed := b.conns.Load(), b.resumed.Load(); conns != 3 || resumed != 2 {
		t.Errorf("%d of %d connections resumed a session, want 2 of 3", resumed, conns)
	}
	b.closeConnections.Store(false)
	r.get("/d")
	before := b.conns.Load()
	r.upstream.tls = tlsClient(t, backendtls.Options{CA: ca.File()}) // as after a reload
	r.get("/e")
	if n := b.conns.Load() - before; n != 1 {
		t.Errorf("%d connections were made with another TLS", n)
	}
}

// TestTLSFailures: a backend whose handshake fails is like one that can't be connected
// to.
func TestTLSFailures(t *testing.T) {
	ca := testca.New(t)
	good := newTLSBackend(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("chat.internal").TLS}})
	expired := newTLSBackend(t, &tls.Config{Certificates: []tls.Certificate{ca.Expired("chat.internal").TLS}})
	mutual := newTLSBackend(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("chat.internal").TLS},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})
	plain := backend(t, func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		name string
		addr netip.AddrPort
		want string
	}{
		{"expired", expired.addr, "TLS with " + expired.addr.String() + ": its certificate has expired"},
		{"wants our certificate", mutual.addr, "alert certificate_required"},
		{"plain", plain, "the backend doesn't speak TLS on this port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := tlsClient(t, backendtls.Options{CA: ca.File()})
			r := newRig(t, Options{}, nil, c.addr, good.addr)
			r.upstream.tls, r.upstream.host = client, "chat.internal"
			if res, body := r.get("/a"); res.StatusCode != 200 || body != "/a" {
				t.Errorf("%d %q, want the other one's answer", res.StatusCode, body)
			}
			if failed, reached := r.upstream.failed.Load(), r.upstream.reached.Load(); failed != 1 || reached != 1 {
				t.Errorf("%d failed and %d were reached, want 1 and 1", failed, reached)
			}
			var lines testkit.Log
			r = newRig(t, Options{}, nil, c.addr)
			r.proxy.o.Log = slog.New(slog.NewTextHandler(&lines, nil))
			r.upstream.tls, r.upstream.host = client, "chat.internal"
			if res, body := r.get("/a"); res.StatusCode != 502 || body != "502: no backend could be connected to\n" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
			if got := lines.Take(); !strings.Contains(got, c.want) {
				t.Errorf("the log says %q, not %q", got, c.want)
			}
		})
	}
}
