package dial_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// network dials with the given result and records its arguments.
type network struct {
	transport.Network
	err   error
	until time.Time
	conn  conn
}

type conn struct {
	transport.Conn
	deadline time.Time
	err      error
	closed   bool
	written  string
	broken   error // of Write
}

func (c *conn) Write(p []byte) (int, error) {
	c.written += string(p)
	return len(p), c.broken
}

func (c *conn) SetDeadline(t time.Time) error { c.deadline = t; return c.err }
func (c *conn) Close() error                  { c.closed = true; return nil }

func (n *network) Dial(_ transport.Conn, _ hostport.Endpoint, until time.Time) (transport.Conn, error) {
	if n.until = until; n.err != nil {
		return nil, n.err
	}
	return &n.conn, nil
}

var addr = hostport.At(netip.MustParseAddrPort("192.0.2.1:3000"))

func TestReasons(t *testing.T) {
	for err, want := range map[error]dial.Reason{
		syscall.ECONNREFUSED:    dial.Refused,
		syscall.ECONNRESET:      dial.Refused,
		os.ErrDeadlineExceeded:  dial.Timeout,
		syscall.ETIMEDOUT:       dial.Timeout,
		syscall.EHOSTUNREACH:    dial.Unreachable,
		syscall.ENETUNREACH:     dial.Unreachable,
		syscall.EACCES:          dial.Unreachable,
		io.ErrUnexpectedEOF:     dial.Unreachable,
		syscall.EMFILE:          dial.Local,
		syscall.ENFILE:          dial.Local,
		syscall.EADDRNOTAVAIL:   dial.Local,
		syscall.ENOBUFS:         dial.Local,
		fmt.Errorf("no reason"): dial.Unreachable,
	} {
		d := dial.Dialer{Network: &network{err: fmt.Errorf("dial: %w", err)}}
		_, got := d.Connect(nil, dial.Target{Addr: addr}, time.Time{})
		var e *dial.Error
		if !errors.As(got, &e) || e.Reason != want || e.Addr != addr || !errors.Is(got, err) {
			t.Errorf("%v: got %v, want %s", err, got, want)
		}
	}
	d := dial.Dialer{Network: &network{err: syscall.ECONNREFUSED}}
	_, err := d.Connect(nil, dial.Target{Addr: addr}, time.Time{})
	if got, want := err.Error(), "connect to 192.0.2.1:3000: refused (connection refused)"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	d = dial.Dialer{Network: &network{err: transport.ErrHungUp}}
	if _, err := d.Connect(nil, dial.Target{Addr: addr}, time.Time{}); err != transport.ErrHungUp {
		t.Errorf("a client that hung up: %v", err)
	}
}

// TestDeadlines: the connect is bounded by the sooner of timeout and deadline, what
// follows by deadline.
func TestDeadlines(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name     string
		timeout  time.Duration
		deadline time.Time
		from, to time.Time // of the attempt's bound
	}{
		{"none", 0, time.Time{}, time.Time{}, time.Time{}},
		{"timeout only", time.Hour, time.Time{}, now.Add(time.Hour), now.Add(2 * time.Hour)},
		{"deadline only", 0, now.Add(time.Hour), now.Add(time.Hour), now.Add(time.Hour)},
		{"deadline is sooner", 2 * time.Hour, now.Add(time.Hour), now.Add(time.Hour), now.Add(time.Hour)},
		{"timeout is sooner", time.Minute, now.Add(time.Hour), now.Add(time.Minute), now.Add(30 * time.Minute)},
	} {
		n := &network{}
		d := dial.Dialer{Network: n, Timeout: c.timeout}
		got, err := d.Connect(nil, dial.Target{Addr: addr}, c.deadline)
		if err != nil || got != &n.conn {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
		if n.until.Before(c.from) || n.until.After(c.to) {
			t.Errorf("%s: dialled until %v, want %v to %v", c.name, n.until, c.from, c.to)
		}
		if !n.conn.deadline.Equal(c.deadline) || n.conn.closed {
			t.Errorf("%s: the connection has the deadline %v, want %v", c.name, n.conn.deadline, c.deadline)
		}
	}
	n := &network{conn: conn{err: io.ErrClosedPipe}}
	d := dial.Dialer{Network: n}
	var e *dial.Error
	if _, err := d.Connect(nil, dial.Target{Addr: addr}, now); !errors.As(err, &e) || e.Reason != dial.Local || !n.conn.closed {
		t.Errorf("a connection that takes no deadline: %v, closed %v", err, n.conn.closed)
	}
}

// TestHeader: it is sent before TLS, within the time for the connect.
func TestHeader(t *testing.T) {
	n, h := &network{}, &handshakes{}
	d := dial.Dialer{Network: n, Timeout: time.Minute}
	if _, err := d.Connect(nil, dial.Target{Addr: addr, Header: []byte("header"), TLS: h}, time.Time{}); err != nil || h.before != "header" || !h.deadline.Equal(n.until) {
		t.Errorf("%v; written before TLS: %q", err, h.before)
	}
	for broken, want := range map[error]dial.Reason{syscall.ECONNRESET: dial.Refused, os.ErrDeadlineExceeded: dial.Timeout} {
		n = &network{conn: conn{broken: broken}}
		d.Network = n
		var e *dial.Error
		if _, err := d.Connect(nil, dial.Target{Addr: addr, Header: []byte("header")}, time.Time{}); !errors.As(err, &e) || e.Reason != want || !n.conn.closed {
			t.Errorf("%v: %v, closed %t", broken, err, n.conn.closed)
		}
	}
}
