// Package wspeer is a WebSocket peer for tests. Unlike a library, it shows a
// test every frame that comes and sends exactly the frames that the test wants.
package wspeer

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// Conn is one end of a WebSocket connection, RFC 6455. One goroutine may read
// while others send.
type Conn struct {
	net.Conn
	In      *bufio.Reader // of Conn; all reading goes through it
	Masks   bool          // a client masks what it sends, a server doesn't
	NoPongs bool          // Message doesn't answer pings
	Pings   int           // read by Message
	Pongs   int           // read by Message

	// Writing is held by Send. A test that writes to Conn itself takes it.
	Writing sync.Mutex

	fragment []byte // the message that Message reads; nil between messages
}

// NewClient returns the client's end of a connection. Its opening handshake is
// still to be done.
func NewClient(conn net.Conn) *Conn {
	return &Conn{Conn: conn, In: bufio.NewReader(conn), Masks: true}
}

// Dial opens a WebSocket. header has further lines of the request. If the
// response isn't a 101, it is returned together with an error.
func Dial(address, path string, header ...string) (*Conn, *http.Response, error) {
	conn, err := net.DialTimeout("tcp", address, testkit.Patience)
	if err != nil {
		return nil, nil, err
	}
	c := NewClient(conn)
	res, err := c.Handshake(address, path, header)
	if err != nil {
		conn.Close()
		return nil, res, err
	}
	return c, res, nil
}

// RequestHead returns the request of an opening handshake. host is the Host
// header, key the Sec-WebSocket-Key, and header has further lines.
func RequestHead(host, path, key string, header []string) string {
	lines := append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + host, "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
	}, header...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// NewKey returns a random Sec-WebSocket-Key.
func NewKey() string {
	var key [16]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}

// AcceptKey returns the Sec-WebSocket-Accept for a key, RFC 6455 §4.2.2.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Handshake does the client's side of the opening handshake.
func (c *Conn) Handshake(host, path string, header []string) (*http.Response, error) {
	c.SetDeadline(time.Now().Add(testkit.Patience))
	defer c.SetDeadline(time.Time{})
	key := NewKey()
	if _, err := io.WriteString(c.Conn, RequestHead(host, path, key, header)); err != nil {
		return nil, err
	}
	return c.ReadResponse(key)
}

// ReadResponse reads the response to an opening handshake with key. If it isn't
// a proper 101, it is returned together with an error.
func (c *Conn) ReadResponse(key string) (*http.Response, error) {
	res, err := http.ReadResponse(c.In, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		return res, fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	if got := res.Header.Get("Sec-WebSocket-Accept"); got != AcceptKey(key) {
		return res, fmt.Errorf("Sec-WebSocket-Accept %q for the key %q", got, key)
	}
	return res, nil
}

// SwitchingProtocols returns the 101 that accepts a handshake with key. header
// has further lines.
func SwitchingProtocols(key string, header ...string) string {
	lines := append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + AcceptKey(key)}, header...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// Accept does the server's side of the opening handshake, after its request was
// read from in. header has further lines of the response.
func Accept(conn net.Conn, in *bufio.Reader, req *http.Request, header ...string) (*Conn, error) {
	_, err := io.WriteString(conn, SwitchingProtocols(req.Header.Get("Sec-WebSocket-Key"), header...))
	return &Conn{Conn: conn, In: in}, err
}

// ReadFrame reads a frame. It is an error if the frame is masked although the
// peer must not mask, or the other way round.
func (c *Conn) ReadFrame() (Frame, error) {
	f, masked, err := ReadFrame(c.In)
	if err == nil && masked == c.Masks {
		err = fmt.Errorf("a frame with masking %v", masked)
	}
	return f, err
}

// Encode returns the bytes of f as this side sends it.
func (c *Conn) Encode(f Frame) []byte { return AppendFrame(nil, f, c.Masks) }

// Send sends frames with one write. Frames that other goroutines send come
// before or after them.
func (c *Conn) Send(frames ...Frame) error {
	c.Writing.Lock()
	defer c.Writing.Unlock()
	var b []byte
	for _, f := range frames {
		b = AppendFrame(b, f, c.Masks)
	}
	_, err := c.Write(b)
	return err
}

// SendText sends a text message of one frame.
func (c *Conn) SendText(text string) error {
	return c.Send(Frame{Fin: true, Op: Text, Payload: []byte(text)})
}

// SendClose sends a Close frame. A code of 0 means a Close frame without a
// payload.
func (c *Conn) SendClose(code int, reason string) error { return c.Send(CloseFrame(code, reason)) }

// RoundTrip sends a text message and wants an echo of it.
func (c *Conn) RoundTrip(text string) error {
	if err := c.SendText(text); err != nil {
		return err
	}
	got, err := c.Message()
	if err == nil && got != text {
		err = fmt.Errorf("sent %q and got %q", text, got)
	}
	return err
}

// CloseError is the error of Message when a Close frame came.
type CloseError struct {
	Code   int // 0 if the frame had none
	Reason string
}

func (e *CloseError) Error() string { return fmt.Sprintf("closed with %d %q", e.Code, e.Reason) }

// Message reads up to the end of a message and answers pings on the way. If a
// Close frame comes, the error is a *CloseError; the caller answers it.
func (c *Conn) Message() (string, error) {
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return "", err
		}
		switch f.Op {
		case Ping:
			c.Pings++
			if c.NoPongs {
				continue
			}
			if err := c.Send(Frame{Fin: true, Op: Pong, Payload: f.Payload}); err != nil {
				return "", err
			}
		case Pong:
			c.Pongs++
		case Close:
			if c.fragment != nil {
				return "", errors.New("a Close inside a message")
			}
			return "", f.closeError()
		default:
			if (f.Op == Continuation) != (c.fragment != nil) {
				return "", fmt.Errorf("fragment out of order, opcode %d", f.Op)
			}
			c.fragment = append(c.fragment, f.Payload...)
			if f.Fin {
				text := string(c.fragment)
				c.fragment = nil
				return text, nil
			}
			if c.fragment == nil {
				c.fragment = []byte{}
			}
		}
	}
}

// ReadEnd reads the end of the stream. It returns an error if bytes come before
// the end, or if the connection ends in another way.
func (c *Conn) ReadEnd() error {
	if b, err := c.In.ReadByte(); err == nil {
		return fmt.Errorf("byte %#x after the Close", b)
	} else if err != io.EOF {
		return err
	}
	return nil
}

// Reset closes a TCP connection with an RST.
func (c *Conn) Reset(t testing.TB) {
	t.Helper()
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}
