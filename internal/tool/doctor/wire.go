package doctor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// conn is a WebSocket connection to the server. It exposes single frames, unlike a
// library, so that nothing is answered or corrected automatically.
type conn struct {
	net.Conn
	in       *bufio.Reader
	response *http.Response // the 101
	stop     func() bool    // of the function that closes it when ctx ends
	sending  sync.Mutex

	keepTexts bool     // keep received messages in texts
	texts     []string // complete messages received, at most maxTexts
	message   []byte   // the message being received, at most maxText bytes of it
}

// Limits on what is kept of messages. The second is in bytes.
const (
	maxTexts = 200
	maxText  = 16 << 10
)

// Close ends the connection at once.
func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// refused is a response other than 101.
type refused struct{ status int }

func (r *refused) Error() string {
	return fmt.Sprintf("answered with %d %s", r.status, http.StatusText(r.status))
}

// unreachable means that the connection failed.
type unreachable struct{ err error }

func (u *unreachable) Error() string { return u.err.Error() }
func (u *unreachable) Unwrap() error { return u.err }

// wrong is a 101 that violates RFC 6455.
type wrong struct{ what, advice string }

func (w *wrong) Error() string { return w.what }

// deflateOffer is what the balancer offers for sessions that may be moved.
const deflateOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// dial opens a session. The error is an *unreachable, a *refused, a *wrong, or
// another error during the handshake.
func (d *doctor) dial(ctx context.Context, header ...[2]string) (*conn, error) {
	connecting, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	nc, err := d.connect(connecting)
	if err != nil {
		return nil, &unreachable{err}
	}
	c := &conn{Conn: nc, in: bufio.NewReader(nc), stop: context.AfterFunc(ctx, func() { nc.Close() })}
	_ = c.SetDeadline(time.Now().Add(d.o.Timeout))
	if err := c.handshake(d, header); err != nil {
		c.Close()
		if isTimeout(err) {
			err = fmt.Errorf("no answer within %v", d.o.Timeout)
		}
		return nil, err
	}
	_ = c.SetDeadline(time.Time{})
	return c, nil
}

func (d *doctor) connect(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	if !d.target.tls {
		return dialer.DialContext(ctx, "tcp", d.target.address)
	}
	secure := tls.Dialer{NetDialer: &dialer, Config: d.o.tls.Clone()}
	secure.Config.NextProtos = []string{"http/1.1"} // only that has the upgrade
	return secure.DialContext(ctx, "tcp", d.target.address)
}

func (c *conn) handshake(d *doctor, header [][2]string) error {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", d.target.path, d.target.host, key)
	if len(d.o.Subprotocol) > 0 {
		fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", strings.Join(d.o.Subprotocol, ", "))
	}
	for _, field := range slices.Concat(header, d.o.Header) {
		fmt.Fprintf(&b, "%s: %s\r\n", field[0], field[1])
	}
	if _, err := io.WriteString(c, b.String()+"\r\n"); err != nil {
		return fmt.Errorf("cannot send the request: %w", err)
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("no HTTP response: %w", err)
	}
	c.response = res
	if res.StatusCode != http.StatusSwitchingProtocols {
		return &refused{res.StatusCode}
	}
	return c.checkAnswer(key, d.o.Subprotocol, header)
}

// checkAnswer checks the 101 according to RFC 6455 §4.1.
func (c *conn) checkAnswer(key string, subprotocols []string, header [][2]string) error {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	h := c.response.Header
	const use = "use a library for the handshake, or fix yours according to RFC 6455 §4.2.2"
	switch {
	case !strings.EqualFold(h.Get("Upgrade"), "websocket"):
		return &wrong{"the 101 lacks \"Upgrade: websocket\"", use}
	case !has(list(h, "Connection"), "upgrade"):
		return &wrong{"the 101 lacks \"Connection: Upgrade\"", use}
	case h.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return &wrong{"Sec-WebSocket-Accept doesn't match the key", use}
	}
	if p := c.subprotocol(); p != "" && !has(subprotocols, p) {
		return &wrong{fmt.Sprintf("the 101 names the subprotocol %.64q, which was not offered", p), "choose a subprotocol that the client offers, or none"}
	}
	offered := ""
	for _, field := range header {
		if field[0] == "Sec-WebSocket-Extensions" {
			offered = "permessage-deflate"
		}
	}
	for _, e := range c.extensions() {
		if name, _, _ := strings.Cut(e, ";"); strings.TrimSpace(name) != offered {
			return &wrong{fmt.Sprintf("the 101 names the extension %.64q, which was not offered", e), "use extensions only when the client offers them"}
		}
	}
	return nil
}

func (c *conn) subprotocol() string  { return c.response.Header.Get("Sec-WebSocket-Protocol") }
func (c *conn) extensions() []string { return list(c.response.Header, "Sec-WebSocket-Extensions") }

// list returns the elements of a list, which may be spread over several fields.
func list(h http.Header, name string) (elements []string) {
	for _, value := range h.Values(name) {
		for m := range strings.SplitSeq(value, ",") {
			if m = strings.TrimSpace(m); m != "" {
				elements = append(elements, m)
			}
		}
	}
	return elements
}

func has(elements []string, word string) bool {
	for _, e := range elements {
		if strings.EqualFold(e, word) {
			return true
		}
	}
	return false
}

// closed is a received Close frame. code is 0 if it had none.
type closed struct {
	code   int
	reason string
}

func (c *closed) Error() string {
	if c.code == 0 {
		return "the server closed the session without a code"
	}
	return fmt.Sprintf("the server closed the session with %d", c.code)
}

// next reads until it receives a pong, and returns its payload. It answers pings,
// and adds messages to texts. After a Close frame the error is a *closed; the
// caller must answer it.
func (c *conn) next() (pong []byte, err error) {
	for {
		op, payload, err := c.nextFrame()
		if err != nil || op == frame.OpPong {
			return payload, err
		}
	}
}

// nextFrame is like next, but for a single frame of any kind.
func (c *conn) nextFrame() (op byte, payload []byte, err error) {
	op, payload, err = c.readFrame()
	switch {
	case err != nil:
	case op == frame.OpPing:
		err = c.send(frame.OpPong, payload)
	case op == frame.OpClose && len(payload) < 2:
		err = &closed{}
	case op == frame.OpClose:
		err = &closed{int(binary.BigEndian.Uint16(payload)), string(payload[2:])}
	}
	return op, payload, err
}

var errMasked = errors.New("the server sent a masked frame (RFC 6455 §5.1)")

// readFrame reads a frame. It returns the payload only of control frames.
func (c *conn) readFrame() (op byte, payload []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return 0, nil, err
	}
	first := head[0]
	op = first & 0x0f
	if head[1]&0x80 != 0 {
		return op, nil, errMasked
	}
	size := int64(head[1])
	switch size {
	case 126:
		_, err = io.ReadFull(c.in, head[:2])
		size = int64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(c.in, head[:])
		size = int64(binary.BigEndian.Uint64(head[:]) & (1<<63 - 1))
	}
	if err != nil {
		return op, nil, err
	}
	if op < frame.OpClose {
		return op, nil, c.readData(first&0x80 != 0, size)
	}
	if size > frame.MaxControlPayload {
		return op, nil, fmt.Errorf("the server sent a control frame of %d bytes (RFC 6455 §5.5)", size)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(c.in, payload)
	return op, payload, err
}

// readData reads the payload of a data frame and keeps the beginning of the
// message. end says that the frame is the last of its message.
func (c *conn) readData(end bool, size int64) error {
	var kept bytes.Buffer
	keep := int64(0)
	if c.keepTexts {
		keep = min(size, int64(maxText-len(c.message)))
	}
	if _, err := io.CopyN(&kept, c.in, keep); err != nil {
		return err
	}
	c.message = append(c.message, kept.Bytes()...)
	if _, err := io.CopyN(io.Discard, c.in, size-keep); err != nil {
		return err
	}
	if end {
		if c.keepTexts && len(c.texts) < maxTexts {
			c.texts = append(c.texts, string(c.message))
		}
		c.message = c.message[:0]
	}
	return nil
}

// send sends a frame that is a complete message or a control frame.
func (c *conn) send(op byte, payload []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	var key [4]byte
	_, _ = rand.Read(key[:])
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, key[:]...)
	for i, p := range payload {
		b = append(b, p^key[i%4])
	}
	_, err := c.Write(b)
	return err
}

func (c *conn) sendClose(code int) error {
	var payload []byte
	if code != 0 {
		payload = binary.BigEndian.AppendUint16(nil, uint16(code))
	}
	return c.send(frame.OpClose, payload)
}
