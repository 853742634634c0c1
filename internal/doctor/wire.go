package doctor

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/frame"
)

// conn is a session as a balancer has it with its backend: frame by frame, so
// that nothing is answered or mended behind its back.
type conn struct {
	net.Conn
	in       *bufio.Reader
	response *http.Response // the 101
	stop     func() bool    // of what closes it when the examination is broken off
	sending  sync.Mutex
}

// Close ends the connection at once.
func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// refused is an answer other than 101.
type refused struct{ status int }

func (r *refused) Error() string {
	return fmt.Sprintf("answered with %d %s", r.status, http.StatusText(r.status))
}

// unreachable is a server that can't be connected to.
type unreachable struct{ err error }

func (u *unreachable) Error() string { return u.err.Error() }
func (u *unreachable) Unwrap() error { return u.err }

// wrong is an answer that breaks RFC 6455.
type wrong struct{ what, advice string }

func (w *wrong) Error() string { return w.what }

// deflateOffer is what a balancer offers for sessions that may be moved.
const deflateOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// dial opens a session. The error is an *unreachable, a *refused, a *wrong, or
// something else that went wrong in the middle.
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
	// HTTP/1.1 alone: what comes next is its upgrade.
	secure := tls.Dialer{NetDialer: &dialer, Config: d.tlsConfig()}
	secure.Config.NextProtos = []string{"http/1.1"}
	return secure.DialContext(ctx, "tcp", d.target.address)
}

func (d *doctor) tlsConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: d.o.Insecure}
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
		return fmt.Errorf("the request could not be sent: %w", err)
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("no HTTP answer: %w", err)
	}
	c.response = res
	if res.StatusCode != http.StatusSwitchingProtocols {
		return &refused{res.StatusCode}
	}
	return c.checkAnswer(key, d.o.Subprotocol, header)
}

// checkAnswer holds the 101 to RFC 6455 §4.1.
func (c *conn) checkAnswer(key string, subprotocols []string, header [][2]string) error {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	h := c.response.Header
	const use = "use a library for the handshake, or mend yours by RFC 6455 §4.2.2"
	switch {
	case !strings.EqualFold(h.Get("Upgrade"), "websocket"):
		return &wrong{"the 101 lacks \"Upgrade: websocket\"", use}
	case !has(list(h, "Connection"), "upgrade"):
		return &wrong{"the 101 lacks \"Connection: Upgrade\"", use}
	case h.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return &wrong{"Sec-WebSocket-Accept does not answer the key", use}
	}
	if p := c.subprotocol(); p != "" && !has(subprotocols, p) {
		return &wrong{fmt.Sprintf("the 101 names the subprotocol %.64q, which was not offered", p), "choose among what the client offers, or name none"}
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

// list has the members of a list that may stand in several fields.
func list(h http.Header, name string) (members []string) {
	for _, value := range h.Values(name) {
		for m := range strings.SplitSeq(value, ",") {
			if m = strings.TrimSpace(m); m != "" {
				members = append(members, m)
			}
		}
	}
	return members
}

func has(members []string, word string) bool {
	for _, m := range members {
		if strings.EqualFold(m, word) {
			return true
		}
	}
	return false
}

// closed is a Close frame that came; code is 0 where it had none.
type closed struct {
	code   int
	reason string
}

func (c *closed) Error() string {
	if c.code == 0 {
		return "the server closed it without a code"
	}
	return fmt.Sprintf("the server closed it with %d", c.code)
}

// next reads until a pong has come, whose payload it returns, and answers
// pings on the way. What data comes is no concern of the doctor's. The error
// is a *closed after a Close frame, whose answer is left to the caller.
func (c *conn) next() (pong []byte, err error) {
	for {
		op, payload, err := c.readFrame()
		switch {
		case err != nil:
			return nil, err
		case op == frame.OpPong:
			return payload, nil
		case op == frame.OpPing:
			if err := c.send(frame.OpPong, payload); err != nil {
				return nil, err
			}
		case op == frame.OpClose && len(payload) < 2:
			return nil, &closed{}
		case op == frame.OpClose:
			return nil, &closed{int(binary.BigEndian.Uint16(payload)), string(payload[2:])}
		}
	}
}

var errMasked = errors.New("the server sent a masked frame (RFC 6455 §5.1)")

// readFrame returns the payload of control frames only.
func (c *conn) readFrame() (op byte, payload []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return 0, nil, err
	}
	op = head[0] & 0x0f
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
		_, err = io.CopyN(io.Discard, c.in, size)
		return op, nil, err
	}
	if size > frame.MaxControlPayload {
		return op, nil, fmt.Errorf("the server sent a control frame of %d bytes (RFC 6455 §5.5)", size)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(c.in, payload)
	return op, payload, err
}

// send sends a control frame.
func (c *conn) send(op byte, payload []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	var key [4]byte
	_, _ = rand.Read(key[:])
	b := append([]byte{0x80 | op, 0x80 | byte(len(payload))}, key[:]...)
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
