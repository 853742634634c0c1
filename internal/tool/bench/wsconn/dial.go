package wsconn

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Field is a header field of the opening handshake.
type Field struct{ Name, Value string }

// Dialer opens connections to one URL.
type Dialer struct {
	// Timeout limits the time to connect, and the time of the TLS and the
	// opening handshake.
	Timeout    time.Duration
	TLS        *tls.Config // for wss
	MaxMessage int         // in bytes; a longer one is a protocol error; 0 means no limit

	address      string
	secure       bool
	head         string // request head up to the key
	subprotocols []string
}

// ParseURL parses a WebSocket URL, see RFC 6455 §3.
func ParseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s is not a URL: %w", rawURL, err)
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("%s: the URL must begin with ws:// or wss://", rawURL)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s: the URL has no host", rawURL)
	case u.Fragment != "":
		return nil, fmt.Errorf("%s: a WebSocket URL can't have a #fragment (RFC 6455 §3)", rawURL)
	}
	return u, nil
}

// NewDialer returns a Dialer. It resolves the URL's host once for all connections.
func NewDialer(ctx context.Context, rawURL string, fields []Field, subprotocols []string) (*Dialer, error) {
	u, err := ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	d := &Dialer{Timeout: 10 * time.Second, secure: u.Scheme == "wss", subprotocols: subprotocols}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[d.secure]
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rawURL, err)
	}
	d.address = net.JoinHostPort(addresses[0], port)
	if d.secure {
		// Without a session cache each connection makes a full handshake, like a
		// new client.
		d.TLS = &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}}
	}
	host := u.Host
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\n", u.RequestURI())
	for _, f := range fields {
		if strings.EqualFold(f.Name, "host") {
			host = f.Value
			continue
		}
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	fmt.Fprintf(&b, "Host: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n", host)
	if len(subprotocols) > 0 {
		fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", strings.Join(subprotocols, ", "))
	}
	b.WriteString("Sec-WebSocket-Key: ")
	d.head = b.String()
	return d, nil
}

// Dial opens a connection. Its error is a *DialError, *StatusError or
// *HandshakeError, or that of writing or reading the handshake.
func (d *Dialer) Dial(ctx context.Context) (*Conn, error) {
	dialer := net.Dialer{Timeout: d.Timeout, KeepAlive: -1}
	tcp, err := dialer.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, &DialError{"connect", err}
	}
	// The end of the context interrupts the rest through the deadline.
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Unix(1, 0)) })
	c, err := d.open(tcp)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return c, nil
}

func (d *Dialer) open(tcp net.Conn) (*Conn, error) {
	if err := tcp.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		return nil, err
	}
	out := newAsyncConn(tcp)
	var nc net.Conn = out
	if d.secure {
		secure := tls.Client(out, d.TLS)
		if err := secure.Handshake(); err != nil {
			return nil, &DialError{"TLS", err}
		}
		nc = secure
	}
	var nonce [16]byte
	binary.LittleEndian.PutUint64(nonce[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(nonce[8:], rand.Uint64())
	key := base64.StdEncoding.EncodeToString(nonce[:])
	if _, err := nc.Write([]byte(d.head + key + "\r\n\r\n")); err != nil {
		return nil, err
	}
	rest, err := d.answer(nc, key)
	if err != nil {
		return nil, err
	}
	return newConn(nc, out, true, d.MaxMessage, rest), tcp.SetDeadline(time.Time{})
}

// responses are large, so they are pooled.
var responses = sync.Pool{New: func() any { return new(httphead.Response) }}

const maxResponseHead = 64 << 10

// answer reads the response and returns what was read after it.
func (d *Dialer) answer(nc net.Conn, key string) (rest []byte, err error) {
	buf := make([]byte, firstBuffer)
	resp := responses.Get().(*httphead.Response)
	defer responses.Put(resp)
	for n := 0; ; {
		used := 0
		if httphead.EndOfHead(buf[:n], 0) > 0 {
			if used, err = resp.Parse(buf[:n]); err != nil {
				return nil, &HandshakeError{err.Error()}
			}
		}
		switch {
		case used > 0 && (resp.Status >= 200 || resp.Status == 101):
			return buf[used:n], d.check(resp, key)
		case used > 0: // an interim response, RFC 9110 §15.2
			n = copy(buf, buf[used:n])
			continue
		case n >= maxResponseHead:
			return nil, &HandshakeError{"the response head is longer than 64 KiB"}
		case n == len(buf):
			buf = slices.Grow(buf, n)[:2*n]
		}
		k, err := nc.Read(buf[n:])
		if n += k; k == 0 && err != nil {
			return nil, err
		}
	}
}

// check checks the response according to RFC 6455 §4.1.
func (d *Dialer) check(resp *httphead.Response, key string) error {
	if resp.Status != 101 {
		return &StatusError{resp.Status, string(resp.Reason)}
	}
	accept, _ := resp.Fields.Get("Sec-WebSocket-Accept")
	protocol, hasProtocol := resp.Fields.Get("Sec-WebSocket-Protocol")
	switch {
	case !resp.Fields.HasToken("Upgrade", "websocket"), !resp.Fields.HasToken("Connection", "Upgrade"):
		return &HandshakeError{"the 101 lacks Upgrade: websocket or Connection: Upgrade"}
	case string(accept) != AcceptKey(key):
		return &HandshakeError{"Sec-WebSocket-Accept doesn't match the key"}
	case resp.Fields.Count("Sec-WebSocket-Extensions") > 0:
		return &HandshakeError{"the 101 names an extension that was not offered"}
	case hasProtocol && !slices.Contains(d.subprotocols, string(protocol)):
		return &HandshakeError{"the 101 names a subprotocol that was not offered"}
	}
	return nil
}

// AcceptKey returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key, see RFC 6455
// §4.2.2.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
