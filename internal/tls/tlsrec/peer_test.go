package tlsrec

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for linkname
)

// crypto/tls has no option for the suites of TLS 1.3. Its lists may be changed by
// linkname; they say so in its source.
//
//go:linkname defaultCipherSuitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var defaultCipherSuitesTLS13 []uint16

//go:linkname defaultCipherSuitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var defaultCipherSuitesTLS13NoAES []uint16

// kind is a connection to test.
type kind struct {
	suite    uint16
	isClient bool // we are
}

func (k kind) String() string {
	role := "/server"
	if k.isClient {
		role = "/client"
	}
	return tls.CipherSuiteName(k.suite) + role
}

func (k kind) version() uint16 {
	if suiteIndex(tls.VersionTLS13, k.suite) > 0 {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// kinds are all suites in both roles. In FIPS mode crypto/tls has not all of them, and
// of those of TLS 1.3 it takes the first.
func kinds() (all []kind) {
	for i := range suites {
		refused := fips140.Enabled() && (suites[i].chacha || suites[i].id == tls.TLS_AES_256_GCM_SHA384)
		if i > 0 && !refused {
			all = append(all, kind{suites[i].id, true}, kind{suites[i].id, false})
		}
	}
	return all
}

// eachKind runs a test for all kinds of connections.
func eachKind(t *testing.T, test func(t *testing.T, k kind)) {
	for _, k := range kinds() {
		t.Run(k.String(), func(t *testing.T) { test(t, k) })
	}
}

var certificates = sync.OnceValue(func() []tls.Certificate {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	ecDER, err := x509.CreateCertificate(rand.Reader, template, template, ec.Public(), ec)
	if err != nil {
		panic(err)
	}
	rsDER, err := x509.CreateCertificate(rand.Reader, template, template, rs.Public(), rs)
	if err != nil {
		panic(err)
	}
	return []tls.Certificate{
		{Certificate: [][]byte{ecDER}, PrivateKey: ec},
		{Certificate: [][]byte{rsDER}, PrivateKey: rs},
	}
})

// keyLog takes the secrets of a handshake.
type keyLog struct{ secrets Secrets }

func (k *keyLog) Write(p []byte) (int, error) {
	word := strings.Fields(string(p))
	value, err := hex.DecodeString(word[2])
	if err != nil {
		return 0, err
	}
	switch word[0] {
	case "CLIENT_TRAFFIC_SECRET_0":
		k.secrets.ClientTraffic = value
	case "SERVER_TRAFFIC_SECRET_0":
		k.secrets.ServerTraffic = value
	case "CLIENT_RANDOM":
		k.secrets.Master = value
	}
	return len(p), nil
}

// recorder remembers what was written and read. It reads nothing beyond a record.
type recorder struct {
	net.Conn
	wrote, read bytes.Buffer
	header      []byte
	left        int // of a record whose header was read
}

func (r *recorder) Write(p []byte) (int, error) {
	r.wrote.Write(p)
	return r.Conn.Write(p)
}

func (r *recorder) Read(p []byte) (int, error) {
	if r.left > 0 {
		n, err := r.Conn.Read(p[:min(len(p), r.left)])
		r.left -= n
		r.read.Write(p[:n])
		return n, err
	}
	n, err := r.Conn.Read(p[:min(len(p), HeaderSize-len(r.header))])
	r.read.Write(p[:n])
	if r.header = append(r.header, p[:n]...); len(r.header) == HeaderSize {
		r.left, r.header = int(binary.BigEndian.Uint16(r.header[3:])), nil
	}
	return n, err
}

// sockets returns both ends of a TCP connection.
func sockets(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// countWritten counts the records that a server has written with the secret of the
// application data.
func countWritten(sec Secrets, wrote []byte) (n uint64) {
	for len(wrote) > 0 {
		size := HeaderSize + int(binary.BigEndian.Uint16(wrote[3:]))
		if TryOpen(sec.Version, sec.Suite, sec.ServerTraffic, n, wrote[:size]) {
			n++
		}
		wrote = wrote[size:]
	}
	return n
}

// connect makes a handshake of crypto/tls with itself. It returns one end, and the
// secrets of the other with the connection below it. The end is closed when the test
// is over.
func connect(t testing.TB, k kind, tickets bool) (peer *tls.Conn, ours net.Conn, sec Secrets) {
	t.Helper()
	defer func(a, b []uint16) {
		defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = a, b
	}(defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES)
	defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = []uint16{k.suite}, []uint16{k.suite}

	keys := &keyLog{}
	config := func() *tls.Config {
		c := &tls.Config{
			Certificates: certificates(), ServerName: "test", InsecureSkipVerify: true,
			MinVersion: k.version(), MaxVersion: k.version(),
			SessionTicketsDisabled: !tickets,
		}
		if tickets {
			// Without a cache a client of crypto/tls doesn't want tickets.
			c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		if k.version() == tls.VersionTLS12 {
			c.CipherSuites = []uint16{k.suite}
		}
		return c
	}
	a, b := sockets(t)
	ourConfig, r := config(), &recorder{Conn: a}
	ourConfig.KeyLogWriter = keys
	var our *tls.Conn
	if k.isClient {
		our, peer = tls.Client(r, ourConfig), tls.Server(b, config())
	} else {
		our, peer = tls.Server(r, ourConfig), tls.Client(b, config())
	}
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	if err := our.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := our.ConnectionState().CipherSuite; got != k.suite {
		t.Fatalf("the suite is %s", tls.CipherSuiteName(got))
	}
	sec = keys.secrets
	sec.Version, sec.Suite, sec.IsClient = k.version(), k.suite, k.isClient
	if k.version() == tls.VersionTLS12 {
		sec.Read, sec.Written = 1, 1
		hello, answer := r.wrote.Bytes(), r.read.Bytes()
		if !k.isClient {
			hello, answer = answer, hello
		}
		sec.ClientRandom, sec.ServerRandom = hello[11:43], answer[11:43]
	} else if !k.isClient {
		sec.Written = countWritten(sec, r.wrote.Bytes())
	}
	return peer, a, sec
}

// conn is a State with the connection below it, as simply as possible.
type conn struct {
	net.Conn
	layer *Layer
	state State
	rest  []byte
}

func newConn(t testing.TB, c net.Conn, sec Secrets) *conn {
	t.Helper()
	s, err := New(sec)
	if err != nil {
		t.Fatal(err)
	}
	return &conn{Conn: c, layer: NewLayer(4), state: s}
}

// read returns what one read of the connection below brings, which may be nothing.
func (c *conn) read() ([]byte, error) {
	buf := make([]byte, MaxRecord)
	n, err := c.Conn.Read(buf)
	if err != nil {
		return nil, err
	}
	c.rest = append(c.rest, buf[:n]...)
	plain := make([]byte, len(c.rest))
	n, used, err := c.layer.Open(&c.state, plain, c.rest)
	c.rest = c.rest[used:]
	return plain[:n], err
}

// readFull reads so many bytes of plaintext.
func (c *conn) readFull(t testing.TB, n int) []byte {
	t.Helper()
	var all []byte
	for len(all) < n {
		p, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p...)
	}
	return all
}

func (c *conn) write(t testing.TB, p []byte) {
	t.Helper()
	if _, err := c.Conn.Write(c.layer.Seal(&c.state, nil, p)); err != nil {
		t.Fatal(err)
	}
}

// random returns so many random bytes.
func random(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

func readFull(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatal(err)
	}
	return p
}
