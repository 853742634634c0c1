package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// secureServer answers requests and WebSockets over TLS, and counts the handshakes
// that resumed a session.
func secureServer(t *testing.T, config *tls.Config, resumed *atomic.Int64) (addr string) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume && resumed != nil {
			resumed.Add(1)
		}
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, "well")
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		reading(r.Context(), c)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// askTLS runs one check of a pool with TLS against addr.
func askTLS(t *testing.T, c CheckSpec, o backendtls.Options, timeout time.Duration, addr string) result {
	t.Helper()
	o.Pool = "chat"
	client, err := backendtls.New(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return askWith(t, client, c, timeout, addr)
}

func askWith(t *testing.T, client TLS, c CheckSpec, timeout time.Duration, addr string) result {
	r := pool.New(pool.Options{})
	defer r.Close()
	pools, _ := r.Apply(chat(addr))
	probe := newChecks((&net.Dialer{}).DialContext, pools["chat"].Members[0], Spec{Checks: []CheckSpec{c}, Timeout: timeout, TLS: client})[0]
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return probe.run(ctx, hostport.At(netip.MustParseAddrPort(addr)))
}

func TestTLS(t *testing.T) {
	ca := testca.New(t)
	trusting := backendtls.Options{CA: ca.File()}
	with := func(p *testca.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS}} }
	good := secureServer(t, with(ca.Issue("127.0.0.1")), nil)
	expired := secureServer(t, with(ca.Expired("127.0.0.1")), nil)
	other := secureServer(t, with(ca.Issue("chat.internal")), nil)
	mutualConfig := with(ca.Issue("127.0.0.1"))
	mutualConfig.ClientAuth, mutualConfig.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	mutual := secureServer(t, mutualConfig, nil)
	unencrypted := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(unencrypted.Close)
	plain := unencrypted.Listener.Addr().String()
	silent := raw(t, func(c *net.TCPConn) { untilGone(c) })
	own := trusting
	own.Cert, own.Key = ca.Issue("balancer").Files()
	for _, c := range []struct {
		name    string
		check   CheckSpec
		o       backendtls.Options
		timeout time.Duration
		addr    string
		want    string
	}{
		{"http", HTTP{}, trusting, plenty, good, "passed: status 200"},
		{"websocket", WebSocket{}, trusting, plenty, good, "passed: pong"},
		{"tcp", TCP{}, trusting, plenty, good, "passed: connected, with TLS"},
		{"server_name", TCP{}, backendtls.Options{CA: trusting.CA, ServerName: "chat.internal"}, plenty, other, "passed: connected, with TLS"},
		{"mutual", HTTP{}, own, plenty, mutual, "passed: status 200"},
		{"not verified", HTTP{}, backendtls.Options{InsecureSkipVerify: true}, plenty, expired, "passed: status 200"},
		{"expired, tcp", TCP{}, trusting, plenty, expired, "failed: TLS with " + expired + ": its certificate has expired, it was valid until "},
		{"expired, http", HTTP{}, trusting, plenty, expired, "failed: TLS with " + expired + ": its certificate has expired, it was valid until "},
		{"expired, websocket", WebSocket{}, trusting, plenty, expired, "failed: TLS with " + expired + ": its certificate has expired, it was valid until "},
		{"another name", TCP{}, trusting, plenty, other, "failed: TLS with " + other + `: its certificate is for "chat.internal", not for "127.0.0.1": set pools.chat.tls.server_name`},
		{"wants our certificate", HTTP{}, trusting, plenty, mutual, `failed: it ended the TLS connection with the alert certificate_required: if it wants a certificate of the balancer, set pools.chat.tls.cert and pools.chat.tls.key`},
		{"wants our certificate, websocket", WebSocket{}, trusting, plenty, mutual, `failed: it ended the TLS connection with the alert certificate_required`},
		{"plain", HTTP{}, trusting, plenty, plain, "failed: TLS with " + plain + ": the backend doesn't speak TLS on this port: remove pools.chat.tls, or change the address"},
		{"silent", TCP{}, trusting, brief, silent, "failed: TLS with " + silent + ": no answer within 150ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := askTLS(t, c.check, c.o, c.timeout, c.addr).String(); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	// An agent is asked in the clear, on its own port.
	_, agentPort, _ := net.SplitHostPort(raw(t, func(c *net.TCPConn) { io.WriteString(c, "75%\n") }))
	var port int
	fmt.Sscan(agentPort, &port)
	if a := askTLS(t, Agent{Port: port}, trusting, plenty, good); a.problem != "" || a.reply.percent != 75 {
		t.Errorf("the agent's answer is %+v", a)
	}
}

// TestTLSIsResumed: the checks of a backend use its tickets.
func TestTLSIsResumed(t *testing.T) {
	ca := testca.New(t)
	var resumed atomic.Int64
	addr := secureServer(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("127.0.0.1").TLS}}, &resumed)
	client, err := backendtls.New(backendtls.Options{CA: ca.File()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := askWith(t, client, HTTP{}, plenty, addr).String(); !strings.HasPrefix(got, "passed: status 200") {
			t.Fatal(got)
		}
	}
	if n := resumed.Load(); n != 2 {
		t.Errorf("%d of 3 checks were resumed, want 2", n)
	}
}

// TestTLSOfSpec: checks go on only while they speak the same TLS, to the same name.
func TestTLSOfSpec(t *testing.T) {
	first, _ := backendtls.New(backendtls.Options{}, nil)
	second, _ := backendtls.New(backendtls.Options{}, nil)
	s := Spec{Checks: []CheckSpec{TCP{}}, TLS: first}
	other, none := s, s
	other.TLS, none.TLS = second, nil
	if !s.Equal(s) || s.Equal(other) || s.Equal(none) {
		t.Error("Equal doesn't compare TLS")
	}
	r := registry(t, nil)
	c := New(Options{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	defer c.Close()
	apply := func(host string, s Spec) *target {
		spec := chat("10.0.0.1:443")
		spec[0].Backends[0].Host = host
		pools, _ := r.Apply(spec)
		c.Apply(pools, map[string]Spec{"chat": s})
		return c.targets[pools["chat"].Members[0].Backend]
	}
	before := apply("a.internal", s)
	if apply("a.internal", s) != before {
		t.Error("the same check began again")
	}
	renamed := apply("b.internal", s)
	if renamed == before {
		t.Error("a check goes on with another name")
	}
	plain := apply("b.internal", none)
	if plain == renamed {
		t.Error("a check goes on without TLS")
	}
	if apply("c.internal", none) != plain {
		t.Error("a name counts without TLS")
	}
}
