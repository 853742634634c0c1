package secure_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/secure"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
	"github.com/holdfast-ws/holdfast/internal/tls/tickets"
)

// listener is a listener with TLS, whose connections say x after the handshake.
type listener struct {
	addr    string
	certs   *certs.Watcher
	outcome chan outcome // of each handshake
}

type outcome struct {
	facts *transport.TLS
	err   error
}

// listen opens a listener with the certificates of spec and the other options of o.
// The handshakes have so much time.
func listen(t testing.TB, spec certs.Spec, o secure.Options, limit time.Duration) *listener {
	t.Helper()
	l := &listener{certs: certs.New(certs.Options{Poll: time.Millisecond}), outcome: make(chan outcome, 100)}
	t.Cleanup(l.certs.Close)
	stores, err := l.certs.Load([]certs.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	l.certs.Use(stores)
	o.Certificates = stores[0]
	if o.Tickets == nil {
		o.Tickets = tickets.New("", nil)
	}
	if o.Protocols == nil {
		o.Protocols = []string{"h2", "http/1.1"}
	}
	server := secure.New(o)
	var log testkit.Log
	n := netconn.New(log.Logger())
	t.Cleanup(func() { n.Close() })
	ln, err := n.Listen(transport.ListenerSpec{Name: "public", Address: "127.0.0.1:0"}, func(c transport.Conn) {
		c.SetDeadline(time.Now().Add(limit))
		s, err := server.Secure(c)
		if err != nil {
			l.outcome <- outcome{nil, err}
			c.CloseWrite()
			var b [1024]byte
			for range 16 { // or the client would not see the alert
				if _, err := c.Read(b[:]); err != nil {
					break
				}
			}
			c.Close()
			return
		}
		meta := s.Meta()
		s.Write([]byte("x"))
		s.Read(make([]byte, 1))
		s.Close()
		l.outcome <- outcome{meta.TLS, nil}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	l.addr = ln.Addr().String()
	return l
}

// dial makes a handshake and returns what both sides saw of it.
func (l *listener) dial(t testing.TB, c *tls.Config) (client tls.ConnectionState, clientErr error, server outcome) {
	t.Helper()
	nc, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	conn := tls.Client(nc, c)
	if clientErr = conn.Handshake(); clientErr == nil {
		var b [1]byte // also reads tickets, and alerts of TLS 1.3 about a client's certificate
		_, clientErr = io.ReadFull(conn, b[:])
		client = conn.ConnectionState()
	}
	conn.Close()
	return client, clientErr, <-l.outcome
}

func pairOf(p *testca.Pair) []certs.Pair {
	cert, key := p.Files()
	return []certs.Pair{{Cert: cert, Key: key}}
}

// TestHandshake: versions and protocols, and what is known afterwards.
func TestHandshake(t *testing.T) {
	ca := testca.New(t)
	l := listen(t, certs.Spec{Pairs: pairOf(ca.Issue("a.example"))}, secure.Options{MinVersion: tls.VersionTLS12}, testkit.Patience)
	for _, tt := range []struct {
		version   uint16
		protocols []string
		want      string
	}{
		{tls.VersionTLS12, nil, ""},
		{tls.VersionTLS12, []string{"http/1.1"}, "http/1.1"},
		{tls.VersionTLS13, []string{"http/1.1", "h2"}, "h2"},
		{tls.VersionTLS13, nil, ""},
	} {
		cs, err, server := l.dial(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example", MaxVersion: tt.version, NextProtos: tt.protocols})
		if err != nil || server.err != nil {
			t.Fatalf("%v, %v", err, server.err)
		}
		f := server.facts
		if cs.Version != tt.version || f.Version != tt.version || f.Suite != cs.CipherSuite || f.ServerName != "a.example" || f.Protocol != tt.want || cs.NegotiatedProtocol != tt.want || f.Resumed || f.Certificate != nil {
			t.Errorf("want %+v: the client sees %+v, the server %+v", tt, cs, f)
		}
		// The post-quantum group, unless a client doesn't offer it.
		if tt.version == tls.VersionTLS13 && cs.CurveID != tls.X25519MLKEM768 {
			t.Errorf("the group is %v", cs.CurveID)
		}
	}
}

// TestFailedHandshakes: the code, the reason and the result of each, and what the
// client is told.
func TestFailedHandshakes(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	pairs := pairOf(ca.Issue("a.example"))
	usual := secure.Options{MinVersion: tls.VersionTLS12, RequireClient: true}
	plain := listen(t, certs.Spec{Pairs: pairs}, usual, testkit.Patience)
	modern := listen(t, certs.Spec{Pairs: pairs}, secure.Options{MinVersion: tls.VersionTLS13}, testkit.Patience)
	strict := listen(t, certs.Spec{Pairs: pairs, Strict: true}, usual, testkit.Patience)
	mutual := listen(t, certs.Spec{Pairs: pairs, ClientCA: certs.CAFile{Path: ca.File()}}, usual, testkit.Patience)
	client := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example"}
		change(c)
		return c
	}
	stranger := other.Issue("stranger")
	for _, tt := range []struct {
		name   string
		on     *listener
		client *tls.Config
		result string
		reason string // in the error
		told   string // in the client's error
	}{
		{"only CBC", plain, client(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}), secure.Refused, "ECDHE with AES-GCM or ChaCha20-Poly1305", "handshake failure"},
		{"only RSA", plain, client(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}), secure.Refused, "no cipher suite that is supported", "handshake failure"},
		{"TLS 1.1", plain, client(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }),
			secure.Refused, "client offered only unsupported versions: [302 301] (in hexadecimal", "protocol version"},
		{"TLS 1.2 where 1.3 is required", modern, client(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
			secure.Refused, "see min_version", "protocol version"},
		{"another name", strict, client(func(c *tls.Config) { c.ServerName = "b.example\n" }),
			secure.Refused, `no certificate has the name "b.example\n"`, "unrecognized name"},
		{"an unknown authority", plain, client(func(c *tls.Config) { c.RootCAs = other.Pool() }),
			secure.Rejected, "the alert bad_certificate", "unknown authority"},
		{"no protocol in common", plain, client(func(c *tls.Config) { c.NextProtos = []string{strings.Repeat("x", 200), strings.Repeat("y", 200)} }),
			secure.Refused, "client requested unsupported application protocols", "no application protocol"},
		{"no client certificate", mutual, client(func(*tls.Config) {}), secure.Refused, "client_auth requires one", "certificate required"},
		{"a client certificate of another authority", mutual, client(func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger.TLS, nil }
		}), secure.Refused, "the client's certificate is not accepted (client_ca): certificate signed by unknown authority", "unknown certificate authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err, server := tt.on.dial(t, tt.client)
			if err == nil || !strings.Contains(err.Error(), tt.told) {
				t.Errorf("the client sees %v, want %q", err, tt.told)
			}
			f := failure.Of(server.err)
			if f.Code != failure.TLSFailed || f.Refusal != nil || secure.Result(server.err) != tt.result || !strings.Contains(f.Error(), tt.reason) || len(f.Error()) > 400 {
				t.Errorf("code %v, result %q, error %q, want %q and %q", f.Code.Result(), secure.Result(server.err), f, tt.result, tt.reason)
			}
		})
	}
	_, _, server := strict.dial(t, client(func(c *tls.Config) { c.ServerName = "b.example" }))
	if got := secure.ServerName(server.err); got != "b.example" {
		t.Errorf("the name is %q", got)
	}
	if secure.ServerName(os.ErrClosed) != "" || secure.Result(nil) != secure.OK || len(secure.Results()) != 6 {
		t.Error("the words are wrong")
	}
}

// TestNotTLS: what sends something else, or nothing, or half of a hello.
func TestNotTLS(t *testing.T) {
	spec := certs.Spec{SelfSigned: true}
	o := secure.Options{MinVersion: tls.VersionTLS12}
	patient, hasty := listen(t, spec, o, testkit.Patience), listen(t, spec, o, 20*time.Millisecond)
	for _, tt := range []struct {
		name, send string
		waits      bool // for the end, and the limit is short
		code       failure.Code
		result     string
		status     int // of the refusal; 0 for none
	}{
		{"plain HTTP", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, failure.TLSFailed, secure.NotTLS, http.StatusBadRequest},
		{"OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", false, failure.TLSFailed, secure.NotTLS, http.StatusBadRequest},
		{"PUT", "PUT /a HTTP/1.1\r\nHost: a\r\n\r\n", false, failure.TLSFailed, secure.NotTLS, http.StatusBadRequest},
		{"PROXY protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", false, failure.TLSFailed, secure.NotTLS, 0},
		{"SSH", "SSH-2.0-x\r\n", false, failure.TLSFailed, secure.NotTLS, 0},
		{"nothing", "", false, failure.NothingAsked, "", 0},
		{"silence", "", true, failure.NothingAsked, "", 0},
		{"half a hello", "\x16\x03\x01\x01\x00\x01", false, failure.ClientGone, secure.ClientGone, 0},
		{"half a hello and silence", "\x16\x03\x01\x01\x00\x01", true, failure.TLSFailed, secure.Timeout, 0},
		{"a broken hello", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", false, failure.TLSFailed, secure.Refused, 0},
		{"an alert", "\x15\x03\x01\x00\x02\x02\x28", false, failure.TLSFailed, secure.Rejected, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			on := patient
			if tt.waits {
				on = hasty
			}
			c, err := net.Dial("tcp", on.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, tt.send)
			if !tt.waits {
				c.(*net.TCPConn).CloseWrite()
			}
			server := <-on.outcome
			f := failure.Of(server.err)
			status := 0
			if f.Refusal != nil {
				status = f.Refusal.Status
			}
			if f.Code != tt.code || secure.Result(server.err) != tt.result || status != tt.status || f.Error() == "" {
				t.Errorf("code %q, result %q, status %d, error %q", f.Code.Result(), secure.Result(server.err), status, f)
			}
		})
	}
}

// TestClientCertificates: who must show one, who may, and who is known by it.
func TestClientCertificates(t *testing.T) {
	ca := testca.New(t)
	me := ca.Issue("me")
	pairs := pairOf(ca.Issue("a.example"))
	for _, require := range []bool{true, false} {
		l := listen(t, certs.Spec{Pairs: pairs, ClientCA: certs.CAFile{Path: ca.File()}}, secure.Options{MinVersion: tls.VersionTLS12, RequireClient: require}, testkit.Patience)
		with := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example", Certificates: []tls.Certificate{me.TLS}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for _, resumed := range []bool{false, true} {
			_, err, server := l.dial(t, with)
			if err != nil || server.err != nil || server.facts.Resumed != resumed || server.facts.Certificate == nil || server.facts.Certificate.Subject.CommonName != "me" {
				t.Errorf("required %t: %v, %+v", require, err, server)
			}
		}
		_, _, server := l.dial(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example"})
		if require != (server.err != nil) || !require && server.facts.Certificate != nil {
			t.Errorf("without a certificate, required %t: %+v", require, server)
		}
	}
}

// TestResumptionUnderOtherRules: a session is not resumed where another file of
// client_ca or another client_auth applies, or applies now.
func TestResumptionUnderOtherRules(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	me := ca.Issue("me")
	pairs := pairOf(ca.Issue("a.example"))
	path := ca.File()
	keys := tickets.New("a secret", nil) // as two listeners with the same ticket_secret
	o := secure.Options{MinVersion: tls.VersionTLS12, RequireClient: true, Tickets: keys}
	required := listen(t, certs.Spec{Pairs: pairs, ClientCA: certs.CAFile{Path: path}}, o, testkit.Patience)
	o.RequireClient = false
	optional := listen(t, certs.Spec{Pairs: pairs, ClientCA: certs.CAFile{Path: path}}, o, testkit.Patience)
	open := listen(t, certs.Spec{Pairs: pairs}, o, testkit.Patience)
	elsewhere := listen(t, certs.Spec{Pairs: pairs, ClientCA: certs.CAFile{Path: path}}, o, testkit.Patience) // like optional
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := func() *tls.Config {
			return &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example", MaxVersion: version, Certificates: []tls.Certificate{me.TLS},
				ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		}
		resumed := func(first, second *listener) bool {
			t.Helper()
			c := client()
			first.dial(t, c)
			_, err, server := second.dial(t, c)
			if err != nil || server.err != nil {
				t.Fatalf("%v, %+v", err, server)
			}
			return server.facts.Resumed
		}
		if !resumed(optional, elsewhere) || !resumed(open, open) {
			t.Error("no session was resumed under the same rules")
		}
		for _, pair := range [][2]*listener{{open, required}, {optional, required}, {open, optional}, {required, open}, {required, optional}} {
			if resumed(pair[0], pair[1]) {
				t.Errorf("a session of %s was resumed by %s", pair[0].addr, pair[1].addr)
			}
		}
	}
	// The file changes while the listener is open: those that it doesn't know any
	// more are refused, also with a ticket.
	c := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example", Certificates: []tls.Certificate{me.TLS}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if _, err, _ := required.dial(t, c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, other.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the new authority applies", func() bool {
		_, err, server := required.dial(t, c)
		return err != nil && server.err != nil && secure.Result(server.err) == secure.Refused
	})
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &other.Issue("you").TLS, nil }
	if _, err, server := required.dial(t, c); err != nil || server.err != nil {
		t.Errorf("a client of the new authority is refused: %v, %v", err, server.err)
	}
}
