package app

import (
	"cmp"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/relay"
)

// sessionLimits are those of the sessions of the i-th rule, whose route has the timeouts
// t.
func sessionLimits(c *config.Config, i int, t *config.RouteTimeouts) relay.Limits {
	own := c.LimitsOf(i)
	l := relayLimits(c, &own.SessionLimits)
	l.Idle = *cmp.Or(t.Idle, &l.Idle)
	l.Lifetime = *cmp.Or(t.MaxLifetime, &l.Lifetime)
	return l
}

// relayLimits are l, and what holds for the sessions of all routes.
func relayLimits(c *config.Config, l *config.SessionLimits) relay.Limits {
	return relay.Limits{
		Idle:              c.Timeouts.Idle,
		Lifetime:          c.Timeouts.MaxLifetime,
		KeepaliveInterval: c.Keepalive.Interval,
		KeepaliveTimeout:  c.Keepalive.Timeout,
		SlowConsumer:      value(l.SlowConsumerTimeout),
		MaxMessage:        value(l.MaxMessage),
		MessagesPerSecond: value(l.MessagesPerSecond),
		BytesPerSecond:    value(l.BytesPerSecond),
		CloseOnExcess:     l.Exceed == "close",
		PassFrames:        l.Frames == "pass",
	}
}
