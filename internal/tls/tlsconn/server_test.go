package tlsconn

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// variant is a way in which a handshake can go.
type variant struct {
	name   string
	client func(*tls.Config)
	server func(*tls.Config)
}

func nothingElse(*tls.Config) {}

func (p *pki) variants() []variant {
	return []variant{
		{"TLS 1.3", nothingElse, nothingElse},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, nothingElse},
		{"X25519MLKEM768", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768} }, nothingElse},
		{"HelloRetryRequest", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256} },
			func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }},
		{"no tickets", nothingElse, func(c *tls.Config) { c.SessionTicketsDisabled = true }},
		{"TLS 1.2 without tickets", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
			func(c *tls.Config) { c.SessionTicketsDisabled = true }},
		{"client certificate", p.shows, p.demands},
		{"TLS 1.2 with client certificate", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; p.shows(c) }, p.demands},
		{"no client certificate", nothingElse, func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven; c.ClientCAs = p.ca.Pool() }},
		{"long chain", nothingElse, func(c *tls.Config) {
			pair := c.Certificates[0]
			for len(pair.Certificate) < 60 { // more than a record
				pair.Certificate = append(pair.Certificate, pair.Certificate[0])
			}
			c.Certificates = []tls.Certificate{pair}
		}},
	}
}

func (p *pki) shows(c *tls.Config) { c.Certificates = []tls.Certificate{p.client.TLS} }

func (p *pki) demands(c *tls.Config) {
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, p.ca.Pool()
}

// TestServer guards against changes in crypto/tls, whose client it uses: secrets that
// aren't logged as they were, and other records in a handshake. Then data could not
// be read. Each variant is tried in a full handshake and in resumed ones.
func TestServer(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		for _, v := range p.variants() {
			t.Run(v.name, func(t *testing.T) {
				facts := make(chan *transport.TLS, 1)
				server, client := p.serverConfig(), p.clientConfig()
				v.server(server)
				v.client(client)
				client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				to := listenTLS(t, n, server, func(c *Conn) {
					if m := c.Meta(); m.Scheme() != "https" || m.ListenerName() != "public" || m.TLS != c.Facts() {
						t.Errorf("%+v", m)
					}
					facts <- c.Facts()
					echo(t)(c)
				})
				for i := range 3 {
					c := dialTLS(t, to, client)
					wantEcho(t, c)
					c.CloseWrite()
					wantEOF(t, c)
					cs, f := c.ConnectionState(), <-facts
					if f.Version != cs.Version || f.Suite != cs.CipherSuite || f.Protocol != "http/1.1" || f.ServerName != "test.example" {
						t.Errorf("%+v", f)
					}
					if want := i > 0 && !server.SessionTicketsDisabled; f.Resumed != want || cs.DidResume != want {
						t.Errorf("connection %d: resumed is %v", i, f.Resumed)
					}
					if has := f.Certificate != nil; has != (client.Certificates != nil) || has && f.Certificate.Subject.CommonName != "client.example" {
						t.Errorf("connection %d: certificate %v", i, f.Certificate)
					}
				}
			})
		}
	})
}

// TestTicketsOfAnother: tickets of one Config are good for another one, if both encrypt
// them in the same way. A TLS 1.2 session of someone else, without what we keep with
// it, is not resumed.
func TestTicketsOfAnother(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			ticketer := new(tls.Config)
			base := p.serverConfig()
			base.WrapSession, base.UnwrapSession = ticketer.EncryptTicket, ticketer.DecryptTicket
			resumed := make(chan bool, 1)
			serve := func(c *Conn) {
				resumed <- c.Facts().Resumed
				echo(t)(c)
			}
			one, two := listenTLS(t, n, base, serve), listenTLS(t, n, base.Clone(), serve)
			other := crypto(t, base, func(c *tls.Conn) { c.Write([]byte("x")) })

			client := p.clientConfig()
			client.MaxVersion = version
			client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i, to := range []netip.AddrPort{one, two, one} {
				c := dialTLS(t, to, client)
				wantEcho(t, c)
				c.CloseWrite()
				wantEOF(t, c)
				if got := <-resumed; got != (i > 0) {
					t.Errorf("%s, connection %d: resumed is %v", tls.VersionName(version), i, got)
				}
			}
			client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			dialTLS(t, other, client).Read(make([]byte, 1))
			c := dialTLS(t, one, client)
			wantEcho(t, c)
			c.CloseWrite()
			wantEOF(t, c)
			if got := <-resumed; got != (version == tls.VersionTLS13) {
				t.Errorf("%s, session of another: resumed is %v", tls.VersionName(version), got)
			}
		}
	})
}

// pieces writes and reads byte by byte.
type pieces struct{ net.Conn }

func (c pieces) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// fragments puts each byte of the first flight into a record of its own.
type fragments struct {
	net.Conn
	done bool
}

func (c *fragments) Write(p []byte) (int, error) {
	if c.done {
		return c.Conn.Write(p)
	}
	c.done = true
	var all []byte
	for _, b := range p[recordHeader:] {
		all = append(all, recordHandshake, 3, 1, 0, 1, b)
	}
	_, err := c.Conn.Write(all)
	return len(p), err
}

// TestHandshakeInPieces: what comes byte by byte, or in many records.
func TestHandshakeInPieces(t *testing.T) {
	p := newPKI(t)
	wraps := map[string]func(net.Conn) net.Conn{
		"bytes":     func(c net.Conn) net.Conn { return pieces{c} },
		"fragments": func(c net.Conn) net.Conn { return &fragments{Conn: c} },
		"both":      func(c net.Conn) net.Conn { return &fragments{Conn: pieces{c}} },
	}
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		to := listenTLS(t, n, p.serverConfig(), echo(t))
		for name, wrap := range wraps {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				config := p.clientConfig()
				config.MaxVersion = version
				c := tls.Client(wrap(dial(t, to)), config)
				if err := c.Handshake(); err != nil {
					t.Errorf("%s, %s: %v", name, tls.VersionName(version), err)
					continue
				}
				c.Write([]byte("hello"))
				got := make([]byte, 5)
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
					t.Errorf("%s: read %q, %v", name, got, err)
				}
				c.Close()
			}
		}
	})
}
