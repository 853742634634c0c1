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

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// maxPongTime is how long a pong may take. The balancer waits for
// keepalive.timeout, 10 s, but a server that needs a large part of that when idle
// may exceed it under load.
const maxPongTime = 2 * time.Second

func (d *doctor) handshake(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.end()
	return ok(fmt.Sprintf("101%s", describeAgreement(c)))
}

// noSession returns a finding for an error of dial.
func (d *doctor) noSession(err error) finding {
	var no *refused
	var w *wrong
	var u *unreachable
	if f, ok := noTLS(err); ok {
		return f
	}
	switch {
	case errors.As(err, &w):
		return fix(w.what, w.advice)
	case errors.As(err, &no) && (no.status == 401 || no.status == 403):
		return fix(no.Error(), "give what the server requires, for example with --header \"Authorization: …\", --header \"Origin: …\" or a token in the URL")
	case errors.As(err, &no) && no.status == 503:
		return fix(no.Error(), "the server is full or draining: try again later")
	case errors.As(err, &no) && no.status == 426:
		return fix(no.Error(), "the server requires another kind of handshake: see its response with curl -i, and note that the balancer uses HTTP/1.1")
	case errors.As(err, &no):
		return fix(no.Error(), "check the path; a WebSocket server answers with 101")
	case errors.As(err, &u):
		return fix("can't connect: "+u.Error(), "start the server, and check the address")
	}
	return fix(describeEnd(err), "the server must answer with an HTTP/1.1 101 (RFC 6455 §4.2.2)")
}

// describeAgreement describes the subprotocol and the extensions of the 101.
func describeAgreement(c *conn) (text string) {
	if p := c.subprotocol(); p != "" {
		text += ", subprotocol " + p
	}
	if e := c.extensions(); len(e) > 0 {
		text += ", " + strings.Join(e, ", ")
	}
	return text
}

// describeEnd describes how a connection ended, given the error of reading from it.
func describeEnd(err error) string {
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

// end closes a session with 1000.
func (c *conn) end() {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if c.sendClose(1000) == nil {
		for err := error(nil); err == nil; {
			_, err = c.next()
		}
	}
	c.Close()
}

// sendPing sends a ping, waits for its pong, and returns how long it took.
func (c *conn) sendPing(within time.Duration) (took time.Duration, err error) {
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
			strange = true // may be an unsolicited pong, see RFC 6455 §5.5.3
		case strange && isTimeout(err):
			return 0, errStrangePong
		default:
			return 0, err
		}
	}
}

var errStrangePong = errors.New("the pong doesn't have the payload of the ping")

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

const adviseLibrary = "let the library answer pings (RFC 6455 §5.5.2), and keep reading: most libraries answer only while the application reads"

func (d *doctor) ping(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.end()
	took, err := c.sendPing(d.o.Timeout)
	switch {
	case errors.Is(err, errStrangePong):
		return fix(err.Error(), "send the ping's payload back in the pong (RFC 6455 §5.5.3): the balancer uses it to recognize its own pings")
	case isTimeout(err):
		return fix(fmt.Sprintf("no pong within %v", d.o.Timeout), adviseLibrary)
	case err != nil:
		return fix("after a ping, "+describeEnd(err), adviseLibrary)
	case took > maxPongTime:
		return fix(fmt.Sprintf("the pong came after %v", rounded(took)), "answer pings while messages are processed, not after that")
	}
	return ok(fmt.Sprintf("pong after %v", rounded(took)))
}

func (d *doctor) close(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.Close()
	return c.checkClose(1000, d.o.Timeout)
}

// checkClose sends a Close and checks the server's reaction.
func (c *conn) checkClose(code int, within time.Duration) finding {
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
		return fix(fmt.Sprintf("our Close with %d was not answered within %v", code, within), "answer a Close with a Close (RFC 6455 §5.5.1); most libraries do so only while the application reads")
	case !errors.As(err, &answer):
		return fix(fmt.Sprintf("after our Close with %d, %s", code, describeEnd(err)), "answer a Close with a Close before closing the connection (RFC 6455 §5.5.1)")
	}
	// The server closes the TCP connection first, RFC 6455 §7.1.1.
	switch _, err := c.in.ReadByte(); {
	case err == nil:
		return fix("it sent something after its Close", "send nothing after a Close (RFC 6455 §5.5.1)")
	case isTimeout(err):
		return fix(fmt.Sprintf("it answered our Close with %d, but keeps the connection open", code), "close the connection after both Close frames; the server must do so first (RFC 6455 §7.1.1)")
	}
	return ok(fmt.Sprintf("our Close with %d answered after %v", code, took))
}

func (d *doctor) idle(ctx context.Context) finding {
	c, err := d.dial(ctx)
	if err != nil {
		return d.noSession(err)
	}
	defer c.end()
	began := time.Now()
	_ = c.SetDeadline(began.Add(d.o.Idle))
	for err == nil {
		_, err = c.next()
	}
	advice := "make the server's timeouts longer than the balancer's keepalive.interval (default 25 s), and count pings as activity"
	if !isTimeout(err) {
		return fix(fmt.Sprintf("after %v without traffic, %s", rounded(time.Since(began)), describeEnd(err)), advice)
	}
	if _, err := c.sendPing(d.o.Timeout); err != nil {
		return fix(fmt.Sprintf("after %v without traffic, a ping was not answered", d.o.Idle), advice)
	}
	return ok(fmt.Sprintf("%v without traffic, then a pong", d.o.Idle))
}

// newSessionID returns an ID of the same length as those of holdfast, but different
// from all of them.
func newSessionID() string {
	var n [8]byte
	_, _ = rand.Read(n[:])
	return fmt.Sprintf("DOCTOR%014d", binary.BigEndian.Uint64(n[:])%1e14)
}
