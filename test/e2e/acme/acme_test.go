//go:build unix

package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/internal/testkit/pebble"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const domain = "ws.example.com"

// balancer is one with a listener for plain HTTP and one for TLS, whose addresses are
// known before it starts: Pebble has to know the ports.
type balancer struct {
	*kit.Balancer
	yaml       string
	plain, tls string
	mode       string // of the listener with TLS; "" is http
}

func port(t *testing.T, address string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	n, err2 := strconv.Atoi(p)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return n
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	return &balancer{plain: testkit.FreeAddress(t), tls: testkit.FreeAddress(t)}
}

// start starts it with certificates of p, which are kept in storage.
func (b *balancer) start(t *testing.T, engine, backend string, p *pebble.Server, storage string) {
	t.Helper()
	b.yaml = fmt.Sprintf(`engine: %s
listeners:
  - {name: public, address: %q, mode: %s, tls: {acme: {email: ops@example.com, domains: [%s], directory: %q, ca: %q, storage: %q}}}
  - {name: plain, address: %q, redirect: https}
admin: {address: "127.0.0.1:0"}
pools: {main: {backends: [{name: a, address: %q}]}}
`, engine, b.tls, cmp.Or(b.mode, "http"), domain, p.Directory, p.CA, storage, b.plain, backend)
	b.Balancer = kit.StartBalancer(t, b.yaml)
}

// open opens a session by wss, and returns the certificate of the balancer.
func (b *balancer) open(t *testing.T, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	var seen *x509.Certificate
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, b.tls)
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, VerifyConnection: func(s tls.ConnectionState) error {
			seen = s.PeerCertificates[0]
			return nil
		}},
	}
	defer transport.CloseIdleConnections()
	ws, _, err := websocket.Dial(ctx, "wss://"+domain+"/echo", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, err
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := ws.Read(ctx); err != nil || string(got) != "hello" {
		t.Fatalf("the echo is %q, %v", got, err)
	}
	return seen, ws.Close(websocket.StatusNormalClosure, "")
}

// await waits until sessions can be opened.
func (b *balancer) await(t *testing.T, roots *x509.CertPool) (c *x509.Certificate) {
	t.Helper()
	testkit.Eventually(t, "a session by wss", func() bool {
		var err error
		c, err = b.open(t, roots)
		return err == nil
	})
	return c
}

// names starts a name server in which the domain is 127.0.0.1.
func names(t *testing.T) string {
	return nameserver.StartTCP(t, domain+". 60 IN A 127.0.0.1").Address
}

// Both challenges are answered by the listeners of a balancer. Until it has a
// certificate it refuses handshakes. After a restart it has one without the authority.
func TestChallenges(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		for _, kind := range []string{"TLS-ALPN-01", "TLS-ALPN-01 with mode tcp", "HTTP-01"} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				backend := kit.StartBackends(t, 1)[0]
				b := newBalancer(t)
				if strings.HasSuffix(kind, "tcp") {
					b.mode = "tcp"
				}
				o := pebble.Options{DNS: names(t)}
				if kind == "HTTP-01" {
					o.HTTPPort = port(t, b.plain)
				} else {
					o.TLSPort = port(t, b.tls)
				}
				p := pebble.New(t, o)
				storage := t.TempDir()
				b.start(t, engine, backend.Address, p, storage)
				b.FindLog(t, "no certificate by ACME", 0, "domain="+domain)
				if _, err := b.open(t, nil); err == nil {
					t.Error("there is a certificate without an authority")
				}
				p.Start(t)
				root := p.Root(t)
				first := b.await(t, root)
				expires := b.Metrics(t)[fmt.Sprintf("holdfast_certificate_expiry_timestamp_seconds{cert=\"acme\",name=%q}", domain)]
				if expires != float64(first.NotAfter.Unix()) {
					t.Errorf("the metric says that it expires at %v, want %v", expires, first.NotAfter.Unix())
				}

				p.Kill(t)
				b.Signal(t, syscall.SIGTERM)
				b.Wait(t, testkit.Patience)
				b.start(t, engine, backend.Address, p, storage)
				if again := b.await(t, root); !again.Equal(first) {
					t.Error("the certificate of the storage isn't used after a restart")
				}
			})
		}
	})
}

// Two balancers share a storage. The authority asks only one of them, whichever orders.
func TestTwoBalancers(t *testing.T) {
	t.Parallel()
	backend := kit.StartBackends(t, 1)[0]
	a, b := newBalancer(t), newBalancer(t)
	p := pebble.Start(t, pebble.Options{TLSPort: port(t, a.tls), HTTPPort: port(t, b.plain), DNS: names(t)})
	storage := t.TempDir()
	for i, n := range []*balancer{a, b} {
		n.start(t, testkit.Engines()[i%len(testkit.Engines())], backend.Address, p, storage)
	}
	root := p.Root(t)
	if x, y := a.await(t, root), b.await(t, root); !x.Equal(y) {
		t.Error("the balancers have different certificates")
	}
	if got := strings.Count(p.Stdout.String(), "Issued certificate serial"); got != 1 {
		t.Errorf("%d certificates were issued, want 1", got)
	}
}
