package relay

import (
	"net"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// probesAfter is how long after its start a session of opaque bytes gets probes: it
// takes eight system calls, and many connections are shorter. TCP counts the time
// since the last byte all the same.
const probesAfter = time.Second

// probesDue is when driver.startProbes must be called, for a session of opaque bytes: its
// client's pingAt, as it has no pings.
func (r *record) probesDue() eventloop.Tick {
	if at := r.sides[session.Client].pingAt; at != 0 {
		return at
	}
	return eventloop.Never
}

// startProbes gives the session its probes, if it is time.
func (d *driver) startProbes(slot int32, r *record) {
	if r.marks&isOpaque != 0 && d.conns.Now() >= r.probesDue() {
		r.sides[session.Client].pingAt = 0
		set := d.times.timeoutsOf(r)
		d.conns.probe(slot, r, set.probes())
	}
}

// probes make the kernel find out that a side of a session of opaque bytes has vanished,
// as pings do in one of frames: after interval without a byte from it, it is asked
// by TCP's keepalive for timeout. While bytes are on their way to that side, the
// kernel sends those again instead, and gives up by its own rules (net.ipv4.tcp_retries2).
func (t *timeouts) probes() net.KeepAliveConfig {
	const longest = 32767 * time.Second // that Linux allows
	seconds := func(d time.Duration) time.Duration {
		return min(max((d+time.Second-1).Truncate(time.Second), time.Second), longest)
	}
	c := net.KeepAliveConfig{Enable: true, Idle: seconds(atLeast(t.interval)), Interval: seconds(atLeast(t.timeout) / 5)}
	timeout := max(atLeast(t.timeout), time.Second)
	c.Count = int(min((timeout+c.Interval-1)/c.Interval, 127)) // most that Linux allows
	return c
}

// atLeast is the shortest time that is rounded up to t.
func atLeast(t eventloop.Tick) time.Duration {
	return max(t, 1).Duration() - eventloop.Tick(1).Duration() + 1
}

// probe implements connections. An error only means that the system has no probes.
func (ps *portableSession) probe(_ int32, _ *record, c net.KeepAliveConfig) {
	for _, end := range ps.ends {
		if tc, ok := below(end.conn).(*net.TCPConn); ok {
			_ = tc.SetKeepAliveConfig(c)
		}
	}
}
