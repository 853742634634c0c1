package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// result is what a check returns.
type result struct {
	finding // not set by an agent check, whose replies add up to one

	// reportsLoad says that the check also reports load: in capacity, as
	// pool.Backend.SetLoad takes it, or a problem with reading it.
	reportsLoad bool
	capacity    float64
	problem     string // "" is none

	reply  agentReply // of an agent check
	silent bool       // an agent's reply couldn't be read
}

// word is the one of Results for it; f is what follows from it.
func (a *result) word(f finding) string {
	switch {
	case a.silent:
		return resultSilent
	case f.verdict == passed:
		return resultPassed
	case f.verdict == drains:
		return resultDraining
	}
	return resultFailed
}

// check checks one backend once. ctx has the deadline for all of it. Each run
// opens a new connection, since it should find out whether new ones are accepted.
type check interface {
	run(ctx context.Context, addr hostport.Endpoint) result
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// connector opens the connections to one backend.
type connector struct {
	dial    dialFunc
	backend *pool.Backend
	port    int           // 0 means that of the backend
	header  []byte        // of the PROXY protocol, which comes first, except to an agent
	host    string        // what the backend is called in its certificate
	tls     TLS           // nil means none
	timeout time.Duration // for messages; ctx has the deadline
}

// at is where checks connect to if addr is the backend's. With a port of their own, that
// of a unix socket is on this machine.
func at(addr hostport.Endpoint, port int) hostport.Endpoint {
	if port == 0 {
		return addr
	}
	ip := addr.TCP.Addr()
	if addr.IsUnix() {
		ip = hostport.UnixPeer.Addr()
	}
	return hostport.At(netip.AddrPortFrom(ip, uint16(port)))
}

// connect opens a connection to addr, with TLS if the pool has that, or if that fails
// to another of the backend's addresses, as sessions would. All use of the connection
// ends with ctx. The caller must close it.
func (c *connector) connect(ctx context.Context, addr hostport.Endpoint) (net.Conn, error) {
	if c.port != 0 {
		conn, err := c.secure(ctx, at(addr, c.port))
		if err != nil && ctx.Err() == nil {
			// Whether sessions can connect to addr isn't known.
			if other, _ := c.backend.Addr(); other != addr {
				conn, err = c.secure(ctx, at(other, c.port))
			}
		}
		return conn, err
	}
	for {
		conn, err := c.secure(ctx, addr)
		if err == nil || errors.Is(ctx.Err(), context.Canceled) {
			return conn, err
		}
		if another := c.backend.DialFailed(addr); !another || ctx.Err() != nil {
			return nil, err
		}
		addr, _ = c.backend.Addr()
	}
}

// open opens a connection to addr only.
func (c *connector) open(ctx context.Context, addr hostport.Endpoint) (net.Conn, error) {
	network, address := addr.DialArgs()
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %s", addr, c.explain(ctx, err))
	}
	return bind(ctx, conn), nil
}

// authority is what a check has as its Host, unless its Spec says otherwise.
func (c *connector) authority() string {
	if hostport.IsUnix(c.backend.Address) {
		return hostport.HostOf(c.backend.Address)
	}
	return c.backend.Address
}

// secure opens a connection to addr only, and begins it as the pool says: by a header
// and the TLS handshake.
func (c *connector) secure(ctx context.Context, addr hostport.Endpoint) (net.Conn, error) {
	conn, err := c.open(ctx, addr)
	if err != nil {
		return nil, err
	}
	if len(c.header) > 0 {
		if _, err := conn.Write(c.header); err != nil {
			conn.Close()
			return nil, fmt.Errorf("connect to %s: %s", addr, c.explain(ctx, err))
		}
	}
	if c.tls == nil {
		return conn, nil
	}
	secured, err := c.tls.Client(ctx, conn, c.host)
	if err != nil {
		conn.Close()
		reason := err.Error()
		if ctx.Err() != nil {
			reason = fmt.Sprintf("no answer within %v", c.timeout)
		}
		return nil, fmt.Errorf("TLS with %s: %s", addr, reason)
	}
	return secured, nil
}

// boundConn is a connection that fails all reads and writes once its context ends.
type boundConn struct {
	net.Conn
	unbind func() bool
}

func bind(ctx context.Context, conn net.Conn) *boundConn {
	past := time.Unix(1, 0)
	return &boundConn{conn, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past) })}
}

func (c *boundConn) Close() error {
	c.unbind()
	return c.Conn.Close()
}

// explain describes err in a few words. They follow the check's name in a log
// line.
func (c *connector) explain(ctx context.Context, err error) string {
	var errno syscall.Errno
	var wrapped *url.Error
	switch {
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v", c.timeout)
	case errors.As(err, &wrapped): // repeats the address
		return c.explain(ctx, wrapped.Err)
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without a whole answer"
	}
	return err.Error()
}

// failure is a failed result with err as the reason.
func (c *connector) failure(ctx context.Context, err error) result {
	return failedResult(c.explain(ctx, err))
}

func failedResult(reason string) result {
	return result{finding: finding{verdict: failed, reason: reason}}
}
