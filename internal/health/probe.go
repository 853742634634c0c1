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

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// answer is what a probe comes back with.
type answer struct {
	finding // not of an agent, whose words come to one

	// heard tells that there is something to say about load: capacity, as
	// pool.Backend.SetLoad has it, or trouble with reading it.
	heard    bool
	capacity float64
	trouble  string // "" is none

	words words // an agent's
}

// probe asks one backend once. ctx has the deadline of it all. Each time it
// opens a connection of its own: what it is to find out is whether new ones
// are taken.
type probe interface {
	ask(ctx context.Context, addr netip.AddrPort) answer
}

// newProbes makes the probes that a Spec asks for.
func newProbes(d dialFunc, b *pool.Backend, s Spec) (probes [kinds]probe) {
	c := &connector{dial: d, backend: b, timeout: s.Timeout}
	if s.HTTP != nil {
		probes[kindHTTP] = newHTTPProbe(c, s.HTTP)
	}
	if s.WebSocket != nil {
		probes[kindWebSocket] = &webSocketProbe{connector: c, spec: *s.WebSocket}
	}
	if s.TCP {
		probes[kindTCP] = &tcpProbe{c}
	}
	if s.Agent != nil {
		probes[kindAgent] = &agentProbe{connector: c, spec: *s.Agent}
	}
	return probes
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// connector opens the connections to one backend.
type connector struct {
	dial    dialFunc
	backend *pool.Backend
	timeout time.Duration // for texts; ctx has the deadline
}

// connect opens a connection to addr, or where nobody listens there to another
// of the backend's addresses, as sessions would. It is bounded by ctx in all
// that is done with it. The caller closes it.
func (c *connector) connect(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	for {
		conn, err := c.open(ctx, addr)
		if err == nil || errors.Is(ctx.Err(), context.Canceled) {
			return conn, err
		}
		if another := c.backend.DialFailed(addr); !another || ctx.Err() != nil {
			return nil, err
		}
		addr, _ = c.backend.Addr()
	}
}

// open opens a connection to addr and no other.
func (c *connector) open(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	conn, err := c.dial(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %s", addr, c.explain(ctx, err))
	}
	return bind(ctx, conn), nil
}

// boundConn is a connection on which nothing waits after its context.
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

// explain says in a few words what err is: it will stand in a log line with
// the check's name before it.
func (c *connector) explain(ctx context.Context, err error) string {
	var errno syscall.Errno
	var wrapped *url.Error
	switch {
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v", c.timeout)
	case errors.As(err, &wrapped): // names the address again
		return c.explain(ctx, wrapped.Err)
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without a whole answer"
	}
	return err.Error()
}

// failure is an answer that fails for err.
func (c *connector) failure(ctx context.Context, err error) answer {
	return answer{finding: finding{verdict: failed, reason: c.explain(ctx, err)}}
}

// tcpProbe asks whether somebody listens.
type tcpProbe struct{ *connector }

func (p *tcpProbe) ask(ctx context.Context, addr netip.AddrPort) answer {
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return answer{finding: finding{verdict: failed, reason: err.Error()}}
	}
	_ = conn.Close()
	return answer{finding: finding{verdict: passed, reason: "connected"}}
}
