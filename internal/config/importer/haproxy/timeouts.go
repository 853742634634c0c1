package haproxy

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// timeouts sets those of a route.
func (x *expander) timeouts(be *proxy, r *config.Route, s state) {
	m := x.m
	missing := ""
	if d, l := be.timeout("connect"); l != nil && d > 0 {
		r.Timeouts.Connect = &d
		m.carry(l, "timeouts.connect")
	} else {
		missing = "connect"
	}
	server, line := be.timeout("server")
	if d, set := s.timeouts["server"]; set {
		server = d
	}
	if server > 0 {
		m.carry(line, "http.response_timeout")
		d := server
		r.Timeouts.Response, r.Timeouts.Handshake = &d, &d
	} else {
		missing += " server"
	}
	idle := x.idle(be, server)
	if d, set := s.timeouts["tunnel"]; set {
		idle = d
	}
	r.Timeouts.Idle = &idle
	if missing != "" {
		m.differ(be.head, "", "HAProxy waits without end for backends here (there is no timeout %s): holdfast waits for as long as timeouts.connect, timeouts.handshake and http.response_timeout say", missing)
	}
}

// idle is how long a session between a frontend and a backend may be silent: for HAProxy
// a tunnel has the timeouts of both sides, unless it has one of its own.
func (x *expander) idle(be *proxy, server time.Duration) time.Duration {
	if d, l := be.timeout("tunnel"); l != nil {
		x.m.carry(l, "timeouts.idle")
		return d
	}
	if d, l := x.fe.timeout("tunnel"); l != nil {
		x.m.carry(l, "timeouts.idle")
		return d
	}
	client, line := x.fe.timeout("client")
	x.m.carry(line, "timeouts.idle")
	switch {
	case client == 0:
		return server
	case server == 0:
		return client
	}
	return min(client, server)
}
