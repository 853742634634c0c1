package health

import (
	"context"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// TCP is a check by a connect, and by a TLS handshake if the pool has TLS.
type TCP struct{}

func (TCP) label() string { return "tcp check" }

func (TCP) newCheck(c *connector) check { return &tcpCheck{c} }

// tcpCheck checks whether the backend accepts connections.
type tcpCheck struct{ *connector }

func (p *tcpCheck) run(ctx context.Context, addr hostport.Endpoint) result {
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return failedResult(err.Error())
	}
	_ = conn.Close()
	reason := "connected"
	if p.tls != nil {
		reason = "connected, with TLS"
	}
	return result{finding: finding{verdict: passed, reason: reason}}
}
