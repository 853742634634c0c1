package relay

import (
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

func (r *record) info() session.Info {
	return session.Info{
		ID:      r.id,
		Client:  netip.AddrPortFrom(netip.AddrFrom16(r.ip).Unmap(), r.port),
		Backend: r.backend,
		Route:   r.route,
		Started: time.Unix(0, r.started),
	}
}

func (r *record) summary(now eventloop.Tick) session.Summary {
	i := r.info()
	s := session.Summary{Info: i, Cause: r.cause, Code: r.code, Duration: time.Since(i.Started), Idle: r.idleFor(now)}
	for i := range r.sides {
		w := &r.sides[i].walker
		s.From[i] = session.Traffic{Messages: w.Messages, Bytes: r.sides[i].bytes}
		if r.cause == [2]session.Cause{session.ClientProtocol, session.BackendProtocol}[i] {
			s.Fault, s.FaultAt = w.FaultRule(), w.FaultOffset()
		}
	}
	s.Limit, s.LimitSide = r.exceeded()
	return s
}

// exceeded is the limit for which the session ended, and the side that did more than it
// may.
func (r *record) exceeded() (session.Limit, session.Side) {
	switch r.cause {
	case session.MessageTooBig:
		return session.MaxMessage, session.Client
	case session.RateLimited:
		if r.sides[session.Client].walker.Fault() == frame.FaultMessages {
			return session.MessagesPerSecond, session.Client
		}
		return session.BytesPerSecond, session.Client
	case session.SlowConsumer:
		if r.marks&slowBackend != 0 {
			return r.limit, session.Backend
		}
		return r.limit, session.Client
	}
	return session.NoLimit, session.Client
}
