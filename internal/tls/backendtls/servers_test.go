package backendtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// listen serves each connection with serve until the test ends.
func listen(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(testkit.Patience))
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

// server is a TLS server that echoes.
type server struct {
	addr       string
	handshakes atomic.Int64
	resumed    atomic.Int64
}

func serve(t *testing.T, config *tls.Config) *server {
	s := &server{}
	s.addr = listen(t, func(conn net.Conn) {
		secured := tls.Server(conn, config)
		if secured.Handshake() != nil {
			return
		}
		s.handshakes.Add(1)
		if secured.ConnectionState().DidResume {
			s.resumed.Add(1)
		}
		io.Copy(secured, secured)
		secured.Close()
	})
	return s
}

// scene is a server and a client of it, and what comes of their handshake.
type scene struct {
	name string
	addr func(*testing.T) string
	o    Options
	host string // "" means chat.internal
	want string // of the error; "" is success
	late bool   // the error comes with the first read
	is   error  // in its chain
}

// scenes has every way in which a handshake can fail.
func scenes(t *testing.T) []scene {
	ca, other := testca.New(t), testca.New(t)
	good := ca.Issue("chat.internal", "127.0.0.1")
	trusting := Options{Pool: "chat", CA: ca.File()}
	with := func(change func(*tls.Config)) func(*testing.T) string {
		return func(t *testing.T) string {
			config := &tls.Config{Certificates: []tls.Certificate{good.TLS}}
			change(config)
			return serve(t, config).addr
		}
	}
	showing := func(p *testca.Pair) func(*testing.T) string {
		return with(func(c *tls.Config) { c.Certificates = []tls.Certificate{p.TLS} })
	}
	mutual := func(version uint16) func(*testing.T) string {
		return with(func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, ca.Pool(), version
		})
	}
	own := func(p *testca.Pair) Options {
		o := trusting
		o.Cert, o.Key = p.Files()
		return o
	}
	change := func(f func(*Options)) Options {
		o := trusting
		f(&o)
		return o
	}
	named := func(sans ...string) Options { return change(func(o *Options) { o.SANs = sans }) }
	spiffe := ca.IssueLike(func(c *x509.Certificate) {
		c.DNSNames, c.URIs = nil, []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/chat"}}
	}, "x")
	ours := ca.Issue("balancer")
	inMemory := Options{Pool: "chat", CA: "ConfigMap default/ca", CAText: string(ca.PEM),
		Cert: "Secret default/client", Key: "Secret default/client", CertText: string(ours.Cert), KeyText: string(ours.Key)}
	answers := func(text string) func(*testing.T) string {
		return func(t *testing.T) string {
			return listen(t, func(c net.Conn) {
				io.ReadAtLeast(c, make([]byte, 1024), 100)
				io.WriteString(c, text)
			})
		}
	}
	wantsOurs := `it ended the TLS connection with the alert certificate_required: if it wants a certificate of the balancer, set pools.chat.tls.cert and pools.chat.tls.key`
	return []scene{
		{name: "TLS 1.3", addr: with(func(*tls.Config) {}), o: trusting},
		{name: "TLS 1.2", addr: with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), o: trusting},
		{name: "by address", addr: with(func(*tls.Config) {}), o: trusting, host: "127.0.0.1"},
		{name: "P-384 only", addr: with(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} }), o: trusting},
		{name: "server_name", addr: with(func(*tls.Config) {}), host: "elsewhere", o: change(func(o *Options) { o.ServerName = "chat.internal" })},
		{name: "mutual", addr: mutual(tls.VersionTLS13), o: own(ca.Issue("balancer"))},
		{name: "mutual, TLS 1.2", addr: mutual(tls.VersionTLS12), o: own(ca.Issue("balancer"))},
		{name: "from memory", addr: mutual(tls.VersionTLS13), o: inMemory},
		{name: "names: the host's", addr: with(func(*tls.Config) {}), o: named("other.internal", "chat.internal"), host: "elsewhere"},
		{name: "names: TLS 1.2", addr: with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), o: named("chat.internal"), host: "elsewhere"},
		{name: "names: an address", addr: with(func(*tls.Config) {}), o: named("127.0.0.1"), host: "elsewhere"},
		{name: "names: a URI", addr: showing(spiffe), o: named("spiffe://cluster.local/ns/default/sa/chat"), host: "elsewhere"},
		{name: "names: a wildcard", addr: showing(ca.Issue("*.Pods.internal")), o: named("*.pods.internal"), host: "elsewhere"},
		{name: "names: by a wildcard", addr: showing(ca.Issue("*.pods.internal")), o: named("a.pods.internal"), host: "elsewhere"},
		{name: "names: none of them, though the host's", addr: with(func(*tls.Config) {}), o: named("a.internal", "*.internal", "spiffe://chat.internal"),
			want: `its certificate is for "chat.internal", "127.0.0.1", and must have one of the names "a.internal", "*.internal", "spiffe://chat.internal": give the backend another certificate, or change the names`},
		{name: "names: another URI", addr: showing(spiffe), o: named("spiffe://cluster.local/ns/default/sa/cha"), host: "elsewhere", want: "its certificate is for no name or address"},
		{name: "names: unknown authority", addr: showing(other.Issue("chat.internal")), o: named("chat.internal"),
			want: `its certificate is signed by the unknown authority "CN=holdfast test CA": add that authority's certificate to`},
		{name: "names: expired", addr: showing(ca.Expired("chat.internal")), o: named("chat.internal"), want: "its certificate has expired, it was valid until "},
		{name: "names: for clients", addr: showing(ca.IssueLike(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "chat.internal")), o: named("chat.internal"),
			want: "its certificate can't be verified: certificate specifies an incompatible key usage"},
		{name: "unknown authority", addr: showing(other.Issue("chat.internal")), o: trusting,
			want: `its certificate is signed by the unknown authority "CN=holdfast test CA": add that authority's certificate to "` + trusting.CA + `", which is pools.chat.tls.ca, or let the backend send its whole chain`},
		{name: "unknown to the system", addr: showing(good), o: Options{Pool: "chat"},
			want: `its certificate is signed by the unknown authority "CN=holdfast test CA": set pools.chat.tls.ca to a file with that authority's certificate, or let the backend send its whole chain`},
		{name: "not verified", addr: showing(other.Expired("x")), o: Options{Pool: "chat", InsecureSkipVerify: true}},
		{name: "another name", addr: showing(ca.Issue("a.example", "b.example", "c.example", "d.example", "10.0.0.1")), o: trusting,
			want: `its certificate is for "a.example", "b.example", "c.example" and 2 more, not for "chat.internal": set pools.chat.tls.server_name to one of its names, or give the backend a certificate with this one`},
		{name: "no name", addr: showing(ca.IssueLike(func(c *x509.Certificate) { c.DNSNames = nil }, "chat.internal")), o: trusting,
			want: `its certificate is for no name or address (its common name doesn't count), not for "chat.internal": set pools.chat.tls.server_name to one of its names, or give the backend a certificate with this one`},
		{name: "expired", addr: showing(ca.Expired("chat.internal")), o: trusting, want: "its certificate has expired, it was valid until "},
		{name: "not yet valid", addr: showing(ca.IssueLike(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "chat.internal")), o: trusting,
			want: "its certificate is valid only from "},
		{name: "for clients", addr: showing(ca.IssueLike(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "chat.internal")), o: trusting,
			want: "its certificate can't be verified: certificate specifies an incompatible key usage"},
		{name: "plain HTTP", addr: answers("HTTP/1.1 400 Bad Request\r\n\r\n"), o: trusting,
			want: "the backend doesn't speak TLS on this port: remove pools.chat.tls, or change the address"},
		{name: "closes", addr: answers(""), o: trusting,
			want: "it closed the connection in the TLS handshake: see its log, and whether it speaks TLS on this port"},
		{name: "silent", addr: func(t *testing.T) string { return listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }) }, o: trusting,
			want: "it did not answer the TLS handshake in time", is: os.ErrDeadlineExceeded},
		{name: "old versions only", addr: with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), o: trusting,
			want: `it ended the TLS handshake with the alert protocol_version: the balancer wants TLS 1.2 or 1.3`},
		{name: "CBC only", addr: with(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}), o: trusting,
			want: `it ended the TLS handshake with the alert handshake_failure: if it wants a certificate of the balancer, set pools.chat.tls.cert and pools.chat.tls.key`},
		{name: "another protocol", addr: with(func(c *tls.Config) { c.NextProtos = []string{"smtp"} }), o: trusting,
			want: `it ended the TLS handshake with the alert no_application_protocol: it doesn't speak http/1.1`},
		{name: "no such name", addr: with(func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("unknown") }
		}), o: trusting, want: `it ended the TLS handshake with the alert internal_error`},
		{name: "wants our certificate", addr: mutual(tls.VersionTLS13), o: trusting, late: true, want: wantsOurs},
		{name: "wants our certificate, TLS 1.2", addr: mutual(tls.VersionTLS12), o: trusting,
			want: `it ended the TLS handshake with the alert handshake_failure: if it wants a certificate of the balancer, set pools.chat.tls.cert and pools.chat.tls.key`},
		{name: "rejects our certificate", addr: mutual(tls.VersionTLS13), o: own(other.Issue("balancer")), late: true,
			want: `it ended the TLS connection with the alert unknown_ca: it doesn't accept pools.chat.tls.cert`},
	}
}

// hostOf is the name that s connects to.
func (s *scene) hostOf() string {
	if s.host == "" {
		return "chat.internal"
	}
	return s.host
}

// result is that of the handshake.
func (s *scene) result() string {
	for begins, result := range map[string]string{"its certificate": Untrusted, "it ended the TLS handshake": Rejected,
		"the backend doesn't speak": NotTLS, "it did not answer": Timeout, "it closed": Failed} {
		if strings.HasPrefix(s.want, begins) {
			return result
		}
	}
	return OK
}

// counted has what a client has counted.
type counted struct{ all []string }

func (c *counted) BackendTLSDone(_, result, version string, resumed bool) {
	c.all = append(c.all, fmt.Sprint(result, " ", version, " ", resumed))
}

// client makes the client of s.
func (s *scene) client(t *testing.T) *Client {
	t.Helper()
	o := s.o
	o.Counter = &counted{}
	c, err := New(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
