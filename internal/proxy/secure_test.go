package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/stage/secure"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
	"github.com/holdfast-ws/holdfast/internal/tls/tickets"
)

// onTLS is a listener with a certificate for a.example, and one of its clients.
func onTLS(t *testing.T, strict bool) (transport.ListenerSpec, *tls.Config) {
	t.Helper()
	ca := testca.New(t)
	cert, key := ca.Issue("a.example").Files()
	w := certs.New(certs.Options{})
	t.Cleanup(w.Close)
	stores, err := w.Load([]certs.Spec{{Pairs: []certs.Pair{{Cert: cert, Key: key}}, Strict: strict}})
	if err != nil {
		t.Fatal(err)
	}
	server := secure.New(secure.Options{Certificates: stores[0], Tickets: tickets.New("", nil), MinVersion: tls.VersionTLS12, Protocols: []string{"h2", "http/1.1"}})
	return transport.ListenerSpec{Name: "public", TLS: server}, &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example"}
}

// dialTLS is dial with a TLS handshake.
func (b *balancer) dialTLS(c *tls.Config) *client {
	b.t.Helper()
	plain := b.dial()
	conn := tls.Client(plain.Conn, c)
	if err := conn.Handshake(); err != nil {
		b.t.Fatal(err)
	}
	return &client{conn, b.t, bufio.NewReader(conn)}
}

// TestSecureListener: a session, plain HTTP and a handshake after it on a listener
// with TLS.
func TestSecureListener(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		listener, config := onTLS(t, false)
		b := start(t, engine, setup{backends: []string{server.addr}, listener: listener})
		c := b.dialTLS(config)
		c.send(upgrade("/")).want(101)
		c.send("\x81\x85\x00\x00\x00\x00hello").wantBytes("\x81\x05hello")
		kept := b.dialTLS(config)
		kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").want(200)
		kept.send(upgrade("/")).want(101)
		kept.send("\x81\x85\x00\x00\x00\x00hello").wantBytes("\x81\x05hello")
		b.mu.Lock()
		secured := slices.Clone(b.secured)
		b.mu.Unlock()
		if !slices.Equal(secured, []string{secure.OK, secure.OK}) {
			t.Errorf("TLS handshakes counted as %q", secured)
		}
		_, heads := server.seen()
		for _, head := range heads {
			if got := field(t, head, "X-Forwarded-Proto"); got != "https" {
				t.Errorf("the backend was told %q", got)
			}
		}
	})
}

// TestSecureFromQueue: a handshake that has waited in a queue goes on on the same TLS
// connection, with what its client has sent meanwhile.
func TestSecureFromQueue(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		listener, config := onTLS(t, false)
		q := slow(ratelimit.Options{Burst: 1})
		defer q.Close()
		b := start(t, engine, setup{backends: []string{server.addr}, listener: listener, admit: q})
		b.dialTLS(config).send(upgrade("/")).want(101)
		c := b.dialTLS(config).send(upgrade("/"))
		b.awaitQueue(q, 1)
		c.send("\x81\x85\x00\x00\x00\x00hello")
		q.Configure(ratelimit.Options{Rate: 1000, Burst: 1000, Queue: 100, QueueTimeout: patience})
		c.want(101)
		c.wantBytes("\x81\x05hello")
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.secured) != 2 {
			t.Errorf("TLS handshakes counted as %q", b.secured)
		}
	})
}

// TestSecureRefusals: each failed TLS handshake is one line of the log and one result,
// and the client is told what it can understand.
func TestSecureRefusals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		send    string // instead of TLS
		tlsName string
		full    bool   // the gate is
		results string // of the handshake and of the TLS handshake
		told    string // in the client's error, or in what it gets
		log     string
	}{
		{"another name", "", "b.example\n", false, "tls_failed refused", "unrecognized name", `server_name="b.example\n"`},
		{"plain HTTP", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", false, "tls_failed not_tls", "400 Bad Request", "connect with https:// or wss://"},
		{"no TLS", "SSH-2.0-x\r\n", "", false, "tls_failed not_tls", "", "doesn't speak TLS"},
		{"too many sessions", "", "a.example", true, "too_many_sessions", "internal error", "too many sessions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				listener, config := onTLS(t, true)
				s := setup{backends: []string{echoing(t, "a").addr}, listener: listener}
				if tt.full {
					s.maxSessions = 1
				}
				b := start(t, engine, s)
				results := 1
				if tt.full {
					b.dialTLS(config).send(upgrade("/")).want(101)
					b.awaitGate(overload.Stats{Sessions: 1})
					results = 2
				}
				c := b.dial()
				var got string
				if tt.send != "" {
					c.send(tt.send)
					c.Conn.(*net.TCPConn).CloseWrite()
					text, err := io.ReadAll(c.br)
					if err != nil {
						t.Error(err)
					}
					got = string(text)
				} else {
					config = config.Clone()
					config.ServerName = tt.tlsName
					err := tls.Client(c.Conn, config).Handshake()
					if err == nil {
						t.Fatal("the handshake succeeded")
					}
					got = err.Error()
				}
				if !strings.Contains(got, tt.told) {
					t.Errorf("the client got %q, want %q", got, tt.told)
				}
				b.wait("a result", func() bool { return len(b.results) == results })
				b.mu.Lock()
				all := b.results[results-1:]
				if !tt.full {
					all = append(all[:1:1], b.secured...)
				}
				b.mu.Unlock()
				if got := strings.Join(all, " "); got != tt.results {
					t.Errorf("the results are %q, want %q", got, tt.results)
				}
				b.waitLog(tt.log)
				if n := strings.Count(b.log.String(), "handshake refused"); n != 1 {
					t.Errorf("%d lines in the log:\n%s", n, b.log)
				}
			})
		})
	}
}

// TestSecureSilence: a client that sends nothing, or nothing after its TLS handshake,
// is not a handshake that failed. A health check does that.
func TestSecureSilence(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, config := onTLS(t, true)
		hasty := start(t, engine, setup{listener: listener, handshake: 20 * time.Millisecond})
		hasty.dial().wantEnd()
		b := start(t, engine, setup{listener: listener})
		b.dial().Close()
		b.dialTLS(config).Close()
		b.wait("the end of both", func() bool { return len(b.secured) == 2 && b.left == 1 })
		for _, b := range []*balancer{hasty, b} {
			b.mu.Lock()
			if len(b.results) > 0 || strings.Contains(b.log.String(), "refused") {
				t.Errorf("handshakes counted as %q, log:\n%s", b.results, b.log)
			}
			b.mu.Unlock()
		}
	})
}
