// Package backendtls is TLS to the backends of a pool: whom the balancer trusts
// there, how it identifies itself, and the sessions that it resumes. A Client makes
// handshakes on a transport.Conn, for WebSockets, and on a net.Conn, for plain HTTP
// and health checks. Its errors say what to change.
package backendtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Options say how the backends of a pool are reached.
type Options struct {
	Pool string // its name, for errors and Counter
	// CA is a PEM file with the certificates that backends' certificates are
	// verified by; "" means those of the system.
	CA string
	// ServerName is the name that every backend's certificate must have, and that
	// backends are asked for (SNI); "" means the host of each.
	ServerName string
	// Cert and Key are PEM files with the balancer's own certificate, followed by
	// its chain, and its private key; "" means none. An empty Key means that the key
	// is in Cert, too.
	Cert, Key string
	// CAText is used instead of the file CA, and CertText and KeyText instead of the
	// files Cert and Key, if they aren't "". CA and Cert are then only names for errors.
	CAText, CertText, KeyText string
	// SANs are names of hosts, IP addresses and URIs, one of which every backend's
	// certificate must have, instead of ServerName or the host. "*.example.com" must be
	// in it as it is. Empty means that it must have that name.
	SANs []string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
	// Counter counts the handshakes; nil means that nobody does.
	Counter Counter
}

// Counter counts handshakes with backends.
type Counter interface {
	// BackendTLSDone counts one, by its pool and its result (see Results). version is such
	// as "1.3", "" if it failed. It must not block.
	BackendTLSDone(pool, result, version string, resumed bool)
}

const (
	// maxSessions bounds the sessions kept for resumption: one for each address.
	maxSessions = 1024
	// maxNames bounds the configurations kept, of which there is one for each name.
	maxNames = 1024
)

// Client makes TLS handshakes with the backends of a pool. It may be used
// concurrently.
type Client struct {
	options  Options
	contents contents
	base     *tls.Config // without ServerName and ClientSessionCache
	sessions tls.ClientSessionCache
	shown    *shown // the same as before a change of the files

	mu      sync.Mutex                 // guards the following
	configs map[string]*tlsconn.Config // by server name
}

// New reads the files of o. If neither o nor a file's content has changed since
// before was made, it returns before, with its sessions. before may be nil.
//
// Files are read here only: a renewed certificate is used from the next reload on.
func New(o Options, before *Client) (*Client, error) {
	read, err := readFiles(o)
	if err != nil {
		return nil, err
	}
	if before != nil && before.options.equal(o) && before.contents == read {
		return before, nil
	}
	c := &Client{options: o, contents: read, sessions: tls.NewLRUClientSessionCache(maxSessions), shown: &shown{}, configs: map[string]*tlsconn.Config{}}
	if before != nil {
		c.shown = before.shown
	}
	c.base = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: o.InsecureSkipVerify,
		// Without X25519MLKEM768, which would cost half as much CPU again for each
		// handshake.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		// Of TLS 1.2, those that package tlsrec knows.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
	if c.base.RootCAs, err = parseCA(o, read.ca); err != nil {
		return nil, err
	}
	if len(o.SANs) > 0 && !o.InsecureSkipVerify {
		c.verifySANs()
	}
	if o.Cert != "" {
		pair, err := parsePair(o, read.cert, read.key)
		if err != nil {
			return nil, err
		}
		// Sent even if no authority that the backend names has signed it: then the
		// backend says what it doesn't like, instead of that it got none.
		c.base.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return c, nil
}

func (o Options) equal(p Options) bool {
	same := o.Counter == p.Counter
	o.Counter, p.Counter = nil, nil // not to be looked into
	return same && reflect.DeepEqual(o, p)
}

// nameOf returns the name that the certificate of a backend at host must have.
func (c *Client) nameOf(host string) string {
	if c.options.ServerName != "" {
		host = c.options.ServerName
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.WithZone("").String() // a certificate has no zone
	}
	return strings.TrimSuffix(host, ".")
}

// Secure makes the handshake with the backend host at addr on conn, within conn's
// deadline. The result owns conn. After an error, conn is still the caller's. The
// error wraps transport.ErrHungUp or os.ErrDeadlineExceeded if it was that.
func (c *Client) Secure(conn transport.Conn, host string, addr hostport.Endpoint) (transport.Conn, error) {
	name := c.nameOf(host)
	secured, err := tlsconn.Client(conn, c.configOf(name), addr)
	if err != nil {
		c.count(resultOf(err), "", false)
		c.shown.note(addr, rejectedCert(err))
		return nil, c.explain(err, name)
	}
	facts := secured.Facts()
	c.shown.note(addr, facts.Certificate)
	c.count(OK, facts.VersionWord(), facts.Resumed)
	return secured, nil
}

// configOf returns the configuration for a name.
func (c *Client) configOf(name string) *tlsconn.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	config := c.configs[name]
	if config == nil {
		if len(c.configs) >= maxNames {
			// Names of backends that were discovered and have gone. The others
			// are soon there again.
			clear(c.configs)
		}
		base := c.base.Clone()
		base.ServerName, base.ClientSessionCache = name, c.sessions
		config = tlsconn.NewConfig(base)
		c.configs[name] = config
	}
	return config
}

// Client makes the handshake with the backend host on conn, until ctx ends. The
// result owns conn. After an error, conn is still the caller's.
func (c *Client) Client(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	config := c.base.Clone()
	config.ServerName = c.nameOf(host)
	config.ClientSessionCache = sessionsOf{c.sessions, conn.RemoteAddr().String()}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		c.count(resultOf(err), "", false)
		c.shown.note(endpointOf(conn), rejectedCert(err))
		return nil, c.explain(err, config.ServerName)
	}
	cs := secured.ConnectionState()
	c.shown.note(endpointOf(conn), cs.PeerCertificates[0]) // crypto/tls has checked that there is one
	c.count(OK, (&transport.TLS{Version: cs.Version}).VersionWord(), cs.DidResume)
	return &clientConn{secured, c}, nil
}

func (c *Client) count(result, version string, resumed bool) {
	if c.options.Counter != nil {
		c.options.Counter.BackendTLSDone(c.options.Pool, result, version, resumed)
	}
}

// sessionsOf has the sessions of the server at one address. Servers with the same
// name needn't know each other's.
type sessionsOf struct {
	all  tls.ClientSessionCache
	addr string
}

func (s sessionsOf) key(name string) string { return "net " + s.addr + " " + name }

// Get is part of tls.ClientSessionCache.
func (s sessionsOf) Get(name string) (*tls.ClientSessionState, bool) { return s.all.Get(s.key(name)) }

// Put is part of tls.ClientSessionCache.
func (s sessionsOf) Put(name string, session *tls.ClientSessionState) {
	s.all.Put(s.key(name), session)
}

// clientConn explains the alert of a server that rejects the balancer's certificate.
// In TLS 1.3 it comes after the handshake is done for a client (RFC 8446 §4.4.2.4).
type clientConn struct {
	*tls.Conn
	client *Client
}

func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		if told := c.client.Rejection(err); told != nil {
			err = told
		}
	}
	return n, err
}

// HangUp closes the connection without a close_notify, which could wait for the
// peer.
func (c *clientConn) HangUp() error { return c.NetConn().Close() }

// Certificate returns the balancer's own certificate; nil if it has none.
func (c *Client) Certificate() *x509.Certificate {
	if c.base.GetClientCertificate == nil {
		return nil
	}
	pair, _ := c.base.GetClientCertificate(nil)
	return pair.Leaf
}

// keyOf names the configuration key of what errors are about.
func keyOf(o *Options, key string) string { return fmt.Sprintf("pools.%s.tls.%s", o.Pool, key) }
