package dial_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// handshakes is TLS that ends with err, and remembers how it was called.
type handshakes struct {
	err      error
	host     string
	addr     hostport.Endpoint
	deadline time.Time
	before   string // what was written before it
}

type secured struct{ transport.Conn }

func (h *handshakes) Secure(c transport.Conn, host string, addr hostport.Endpoint) (transport.Conn, error) {
	h.host, h.addr, h.deadline, h.before = host, addr, c.(*conn).deadline, c.(*conn).written
	if h.err != nil {
		return nil, h.err
	}
	return &secured{c}, nil
}

// TestTLS: the handshake has the deadline of the connect, and what follows has its own.
func TestTLS(t *testing.T) {
	n, h := &network{}, &handshakes{}
	d := dial.Dialer{Network: n, Timeout: time.Minute}
	deadline := time.Now().Add(time.Hour)
	c, err := d.Connect(nil, dial.Target{Addr: addr, TLS: h, Host: "chat.internal"}, deadline)
	if s, ok := c.(*secured); err != nil || !ok || s.Conn != &n.conn {
		t.Fatalf("%v, %v", c, err)
	}
	if h.host != "chat.internal" || h.addr != addr || !h.deadline.Equal(n.until) || !n.conn.deadline.Equal(deadline) || n.conn.closed {
		t.Errorf("%+v, then the deadline %v, want first %v, then %v", h, n.conn.deadline, n.until, deadline)
	}
}

// TestTLSFailures: whose failure it is, and that the connection is closed.
func TestTLSFailures(t *testing.T) {
	for _, c := range []struct {
		err  error
		code failure.Code
		text string
	}{
		{errors.New("its certificate has expired"), failure.BackendTLS, "TLS with 192.0.2.1:3000: its certificate has expired"},
		{fmt.Errorf("it said nothing: %w", os.ErrDeadlineExceeded), failure.ConnectTimeout, "connect to 192.0.2.1:3000: timeout (it said nothing: i/o timeout)"},
	} {
		n := &network{}
		d := dial.Dialer{Network: n}
		_, err := d.Connect(nil, dial.Target{Addr: addr, TLS: &handshakes{err: c.err}}, time.Time{})
		if failure.Of(err).Code != c.code || err.Error() != c.text || !errors.Is(err, c.err) || !n.conn.closed {
			t.Errorf("%v: %v, code %d, closed %v", c.err, err, failure.Of(err).Code, n.conn.closed)
		}
	}
	n := &network{}
	d := dial.Dialer{Network: n}
	gone := &handshakes{err: fmt.Errorf("tls: %w", transport.ErrHungUp)}
	if _, err := d.Connect(nil, dial.Target{Addr: addr, TLS: gone}, time.Time{}); err != transport.ErrHungUp || !n.conn.closed {
		t.Errorf("a client that hung up: %v", err)
	}
}
