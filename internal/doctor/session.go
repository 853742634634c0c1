package doctor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/frame"
)

// promptly is how soon a pong should come. The balancer gives up after
// keepalive.timeout, 10 s, and a server that needs much of that for a frame of
// ten bytes will need more some day.
const promptly = 2 * time.Second

func (d *doctor) handshake(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.leave()
	return ok(fmt.Sprintf("101%s", agreed(c)))
}

// noSession says what to do when dial failed.
func (d *doctor) noSession(err error) finding {
	var no *refused
	var w *wrong
	var u *unreachable
	switch {
	case errors.As(err, &w):
		return mend(w.what, w.advice)
	case errors.As(err, &no) && (no.status == 401 || no.status == 403):
		return mend(no.Error(), "give what the server wants to see, as with --header \"Authorization: …\", --header \"Origin: …\" or a token in the URL")
	case errors.As(err, &no) && no.status == 503:
		return mend(no.Error(), "the server is full or draining: try again when it is neither")
	case errors.As(err, &no) && no.status == 426:
		return mend(no.Error(), "the server wants another kind of handshake: see its answer with curl -i, and mind that the balancer asks with HTTP/1.1")
	case errors.As(err, &no):
		return mend(no.Error(), "check the path; a WebSocket server answers with 101 there")
	case errors.As(err, &u):
		return mend("can't connect: "+u.Error(), "start the server, and check the address")
	}
	return mend(cut(err), "the server must answer with an HTTP/1.1 101 (RFC 6455 §4.2.2)")
}

// agreed tells what the 101 agreed to.
func agreed(c *conn) (text string) {
	if p := c.subprotocol(); p != "" {
		text += ", subprotocol " + p
	}
	if e := c.extensions(); len(e) > 0 {
		text += ", " + strings.Join(e, ", ")
	}
	return text
}

// cut says how a connection ended, from the error of reading it.
func cut(err error) string {
	var c *closed
	switch {
	case errors.As(err, &c):
		return c.Error()
	case isTimeout(err):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended without a Close frame"
	case strings.Contains(err.Error(), "reset by peer"), strings.Contains(err.Error(), "forcibly closed"):
		return "the connection was reset"
	}
	return err.Error()
}

// leave ends a session that is of no further use.
func (c *conn) leave() {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if c.sendClose(1000) == nil {
		for err := error(nil); err == nil; {
			_, err = c.next()
		}
	}
	c.Close()
}

// pings sends a ping and returns how long its pong took.
func (c *conn) pings(within time.Duration) (took time.Duration, err error) {
	began := time.Now()
	_ = c.SetDeadline(began.Add(within))
	defer c.SetDeadline(time.Time{})
	var nonce [frame.PingSize]byte
	_, _ = rand.Read(nonce[:])
	if err := c.send(frame.OpPing, nonce[:]); err != nil {
		return 0, err
	}
	strange := false
	for {
		pong, err := c.next()
		switch {
		case err == nil && string(pong) == string(nonce[:]):
			return time.Since(began), nil
		case err == nil:
			strange = true // may be one that nobody asked for, RFC 6455 §5.5.3
		case strange && isTimeout(err):
			return 0, errStrangePong
		default:
			return 0, err
		}
	}
}

var errStrangePong = errors.New("the pong doesn't carry what the ping carried")

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

const adviseLibrary = "have the library answer pings by itself (RFC 6455 §5.5.2), and keep reading: in most, it does so only while somebody reads"

func (d *doctor) ping(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.leave()
	took, err := c.pings(d.o.Timeout)
	switch {
	case errors.Is(err, errStrangePong):
		return mend(err.Error(), "send the ping's payload back in the pong (RFC 6455 §5.5.3): by it the balancer knows its own")
	case isTimeout(err):
		return mend(fmt.Sprintf("no pong within %v", d.o.Timeout), adviseLibrary)
	case err != nil:
		return mend("after a ping, "+cut(err), adviseLibrary)
	case took > promptly:
		return mend(fmt.Sprintf("the pong came after %v", rounded(took)), "answer pings beside the work on messages, not after it")
	}
	return ok(fmt.Sprintf("pong after %v", rounded(took)))
}

func (d *doctor) close(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.Close()
	return c.closes(1000, d.o.Timeout)
}

// closes sends a Close and judges what comes of it.
func (c *conn) closes(code int, within time.Duration) finding {
	began := time.Now()
	_ = c.SetDeadline(began.Add(within))
	err := c.sendClose(code)
	var answer *closed
	for err == nil {
		_, err = c.next()
	}
	took := rounded(time.Since(began))
	switch {
	case isTimeout(err):
		return mend(fmt.Sprintf("our Close with %d was not answered within %v", code, within), "answer a Close with a Close (RFC 6455 §5.5.1); in most libraries that needs somebody who reads")
	case !errors.As(err, &answer):
		return mend(fmt.Sprintf("after our Close with %d, %s", code, cut(err)), "answer a Close with a Close before closing the connection (RFC 6455 §5.5.1)")
	}
	// The server closes the TCP connection first, RFC 6455 §7.1.1.
	switch _, err := c.in.ReadByte(); {
	case err == nil:
		return mend("it sent something after its Close", "send nothing after a Close (RFC 6455 §5.5.1)")
	case isTimeout(err):
		return mend(fmt.Sprintf("it answered our Close with %d, and keeps the connection open", code), "close the connection after both Close frames: it is the server that does so first (RFC 6455 §7.1.1)")
	}
	return ok(fmt.Sprintf("our Close with %d answered after %v", code, took))
}

func (d *doctor) idle(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.leave()
	began := time.Now()
	_ = c.SetDeadline(began.Add(d.o.Idle))
	for err == nil {
		_, err = c.next()
	}
	advice := "let the server's timeouts be longer than the balancer's keepalive.interval, 25 s unless it is configured, and have its pings count as signs of life"
	if !isTimeout(err) {
		return mend(fmt.Sprintf("after %v without traffic, %s", rounded(time.Since(began)), cut(err)), advice)
	}
	if _, err := c.pings(d.o.Timeout); err != nil {
		return mend(fmt.Sprintf("after %v without traffic, a ping was not answered", d.o.Idle), advice)
	}
	return ok(fmt.Sprintf("%v without traffic, then a pong", d.o.Idle))
}

// newSessionID is as long as holdfast's, and none of its.
func newSessionID() string {
	var n [8]byte
	_, _ = rand.Read(n[:])
	return fmt.Sprintf("DOCTOR%014d", binary.BigEndian.Uint64(n[:])%1e14)
}
