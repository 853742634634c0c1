package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// refused makes a handshake that must fail at the server, and returns its error.
// client does the client's part.
func refused(t *testing.T, n transport.Network, base *tls.Config, deadline time.Duration, client func(*net.TCPConn)) *HandshakeError {
	t.Helper()
	config := NewConfig(base)
	failed := make(chan error, 1)
	to := listen(t, n, func(c transport.Conn) {
		defer c.Close()
		c.SetDeadline(time.Now().Add(deadline))
		s, err := Server(c, config)
		if err == nil {
			s.Close()
			err = errors.New("there was no error")
		}
		failed <- err
	})
	c := dial(t, to)
	client(c)
	return failure(t, testkit.Receive(t, "the handshake fails", failed))
}

// clientFails makes a handshake by crypto/tls that must fail with a text.
func clientFails(t *testing.T, config *tls.Config, text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		conn := tls.Client(c, config)
		err := conn.Handshake()
		if err == nil { // in TLS 1.3 the server's answer comes later
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("at the client: %v, want %q", err, text)
		}
	}
}

func send(t *testing.T, text string, then func(*net.TCPConn) error) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Error(err)
		}
		if err := then(c); err != nil {
			t.Error(err)
		}
	}
}

// clearAlerts sends an alert in clear instead of each encrypted record, as OpenSSL does
// in TLS 1.3 before its Finished.
type clearAlerts struct{ net.Conn }

func (c clearAlerts) Write(p []byte) (int, error) {
	all := p
	if i := bytes.Index(p, []byte{recordData, 3, 3}); i >= 0 {
		all = append(p[:i:i], recordAlert, 3, 3, 0, 2, 2, 48)
	}
	_, err := c.Conn.Write(all)
	return len(p), err
}

// damaged damages encrypted records.
type damaged struct{ net.Conn }

func (c damaged) Write(p []byte) (int, error) {
	if i := bytes.Index(p, []byte{recordData, 3, 3}); i >= 0 {
		p = slices.Clone(p)
		p[len(p)-1] ^= 1
	}
	return c.Conn.Write(p)
}

func TestHandshakeFails(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t)
	with := func(base *tls.Config, change func(*tls.Config)) *tls.Config {
		change(base)
		return base
	}
	hold := func(*net.TCPConn) error { return nil }
	reset := func(c *net.TCPConn) error { c.SetLinger(0); return c.Close() }
	eof := (*net.TCPConn).CloseWrite
	const patient, short = testkit.Patience, 100 * time.Millisecond
	for _, test := range []struct {
		name     string
		server   *tls.Config
		deadline time.Duration
		client   func(*net.TCPConn)
		text     string // of the error
		check    func(*HandshakeError) bool
	}{
		{"plain HTTP", p.serverConfig(), patient, send(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", hold),
			"the client doesn't speak TLS", func(e *HandshakeError) bool {
				return strings.HasPrefix("GET / HTTP/1.1\r\nHost: a\r\n\r\n", string(e.Plain))
			}},
		{"garbage", p.serverConfig(), patient, send(t, "\x00\x01\x02\x03\x04\x05", hold),
			"the client doesn't speak TLS", func(e *HandshakeError) bool { return len(e.Plain) >= 5 }},
		{"a little of something", p.serverConfig(), short, send(t, "GET", hold),
			"the client did not complete the TLS handshake in time", func(e *HandshakeError) bool { return errors.Is(e, os.ErrDeadlineExceeded) }},
		{"a handshake record of nothing", p.serverConfig(), patient, send(t, "\x16\x03\x01\x00\x00", hold), "unexpected message", nil},
		{"no hello", p.serverConfig(), patient, send(t, "\x16\x03\x01\x00\x04\x0e\x00\x00\x00", hold), "unexpected", nil},
		{"a broken hello", p.serverConfig(), patient, send(t, "\x16\x03\x01\x00\x08\x01\x00\x00\x04abcd", hold), "", nil},
		{"a hello without end", p.serverConfig(), patient, send(t, "\x16\x03\x01\x00\x08\x01\xff\xff\xffabcd", hold), "exceeds", nil},
		{"SSL 2", p.serverConfig(), patient, send(t, "\x80\x2e\x01\x00\x02", hold), "SSLv2", func(e *HandshakeError) bool { return e.Plain == nil }},
		{"nothing", p.serverConfig(), patient, send(t, "", eof),
			"the client closed the connection", func(e *HandshakeError) bool { return e.Nothing && errors.Is(e, io.EOF) }},
		{"nothing in time", p.serverConfig(), short, send(t, "", hold),
			"the client has sent nothing", func(e *HandshakeError) bool { return e.Nothing && errors.Is(e, os.ErrDeadlineExceeded) }},
		{"reset", p.serverConfig(), patient, send(t, "\x16\x03\x01", reset), "the client closed the connection", nil},
		{"an end in the middle", p.serverConfig(), patient, send(t, "\x16\x03\x01\x01\x00\x01\x00", eof),
			"the client closed the connection", func(e *HandshakeError) bool { return !e.Nothing && errors.Is(e, io.EOF) }},
		{"an alert instead", p.serverConfig(), patient, send(t, "\x15\x03\x01\x00\x02\x02\x28", hold), "alert handshake_failure", nil},
		{"old version", p.serverConfig(), patient,
			clientFails(t, with(p.clientConfig(), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), "protocol version"),
			"client offered only unsupported versions", nil},
		{"no common suite", with(p.serverConfig(), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), patient,
			clientFails(t, with(p.clientConfig(), func(c *tls.Config) {
				c.CipherSuites, c.MaxVersion = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}, tls.VersionTLS12
			}), "handshake failure"), "no cipher suite supported", nil},
		{"no common protocol", p.serverConfig(), patient,
			clientFails(t, with(p.clientConfig(), func(c *tls.Config) { c.NextProtos = []string{"other"} }), "no application protocol"),
			"unsupported application protocols", nil},
		{"many protocols", p.serverConfig(), patient,
			clientFails(t, with(p.clientConfig(), func(c *tls.Config) { c.NextProtos = strings.Split(strings.Repeat("other,", 1000)+"other", ",") }), "no application protocol"),
			"unsupported application protocols", func(e *HandshakeError) bool { return len(e.Error()) <= maxText }},
		{"certificate that the client doesn't trust", stranger.serverConfig(), patient,
			clientFails(t, p.clientConfig(), "unknown authority"),
			"the client ended the TLS handshake with the alert", func(e *HandshakeError) bool { a, ok := e.Alert(); return ok && a == 42 }},
		{"an alert that isn't encrypted", p.serverConfig(), patient, func(c *net.TCPConn) {
			config := p.clientConfig()
			config.VerifyConnection = func(tls.ConnectionState) error { return errors.New("no") }
			tls.Client(clearAlerts{c}, config).Handshake()
			hold(c)
		}, "the client ended the TLS handshake with the alert unknown_ca", func(e *HandshakeError) bool { a, ok := e.Alert(); return ok && a == 48 }},
		{"damage", p.serverConfig(), patient, func(c *net.TCPConn) {
			tls.Client(damaged{c}, p.clientConfig()).Handshake()
			hold(c)
		}, "bad record MAC", func(e *HandshakeError) bool { _, ok := e.Alert(); return !ok }},
		{"no certificate of the client", with(p.serverConfig(), p.demands), patient,
			clientFails(t, p.clientConfig(), "certificate required"), "client didn't provide a certificate", nil},
		{"unknown certificate of the client", with(p.serverConfig(), p.demands), patient,
			clientFails(t, with(p.clientConfig(), stranger.shows), "unknown certificate authority"), "unknown authority", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachNetwork(t, func(t *testing.T, n transport.Network) {
				e := refused(t, n, test.server, test.deadline, test.client)
				if !strings.Contains(e.Error(), test.text) || strings.HasPrefix(e.Error(), "tls:") {
					t.Errorf("error: %v", e)
				}
				if test.check != nil && !test.check(e) {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

// TestClientFails: the errors of a handshake as the client.
func TestClientFails(t *testing.T) {
	p, stranger := newPKI(t), newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		fails := func(base *tls.Config, serve func(net.Conn)) *HandshakeError {
			t.Helper()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				if c, err := ln.Accept(); err == nil {
					defer c.Close()
					c.SetDeadline(time.Now().Add(testkit.Patience))
					serve(c)
				}
			}()
			to := ln.Addr().(*net.TCPAddr).AddrPort()
			var failed error
			asClient(t, n, to, func(c transport.Conn) {
				if _, failed = Client(c, NewConfig(base), hostport.At(to)); failed == nil {
					t.Error("there was no error")
				}
			})
			return failure(t, failed)
		}
		e := fails(p.clientConfig(), func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-x\r\n")
			io.Copy(io.Discard, c)
		})
		if string(e.Plain) != "SSH-2.0-x\r\n" || e.Error() != "the server doesn't speak TLS" {
			t.Errorf("%+v", e)
		}
		e = fails(p.clientConfig(), func(net.Conn) {})
		if !e.Nothing || !errors.Is(e, io.EOF) && !strings.Contains(e.Error(), "closed the connection") {
			t.Errorf("%+v", e)
		}
		var unknown *tls.CertificateVerificationError
		e = fails(p.clientConfig(), func(c net.Conn) { tls.Server(c, stranger.serverConfig()).Handshake() })
		if !errors.As(e, &unknown) || e.Plain != nil {
			t.Errorf("%v", e)
		}
	})
}

// TestClientGoesWhileItsServerShakesHands: the handshake with a backend ends when the
// client has gone.
func TestClientGoesWhileItsServerShakesHands(t *testing.T) {
	p := newPKI(t)
	eachNetwork(t, func(t *testing.T, n transport.Network) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		to := ln.Addr().(*net.TCPAddr).AddrPort()
		failed := make(chan error, 1)
		via := listen(t, n, func(parent transport.Conn) {
			c, err := n.Dial(parent, hostport.At(to), time.Now().Add(testkit.Patience))
			if err != nil {
				failed <- err
				return
			}
			defer c.Close()
			_, err = Client(c, NewConfig(p.clientConfig()), hostport.At(to))
			failed <- err
		})
		client := dial(t, via)
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.ReadFull(c, make([]byte, 10))
		client.Close()
		if e := failure(t, testkit.Receive(t, "the handshake fails", failed)); !errors.Is(e, transport.ErrHungUp) {
			t.Error(e)
		}
	})
}
