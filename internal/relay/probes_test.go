package relay

import (
	"net"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// The kernel counts in whole seconds. A peer that has vanished is lost after about the
// interval and the timeout.
func TestProbes(t *testing.T) {
	for _, c := range []struct {
		interval, timeout time.Duration
		want              net.KeepAliveConfig
	}{
		{25 * time.Second, 10 * time.Second, net.KeepAliveConfig{Enable: true, Idle: 25 * time.Second, Interval: 2 * time.Second, Count: 5}},
		{time.Millisecond, time.Millisecond, net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}},
		{time.Second, 0, net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}},
		{1500 * time.Millisecond, 3 * time.Second, net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}},
		{time.Minute, 7 * time.Second, net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 2 * time.Second, Count: 4}},
		{8760 * time.Hour, 8760 * time.Hour, net.KeepAliveConfig{Enable: true, Idle: 32767 * time.Second, Interval: 32767 * time.Second, Count: 127}},
	} {
		limits := Limits{KeepaliveInterval: c.interval, KeepaliveTimeout: c.timeout}
		set := limits.timeouts()
		if got := set.probes(); got != c.want {
			t.Errorf("%v and %v: %+v, want %+v", c.interval, c.timeout, got, c.want)
		}
	}
}

// Only sessions of opaque bytes get probes, and not at once.
func TestProbesDue(t *testing.T) {
	const now = 100
	for _, c := range []struct {
		opaque   bool
		interval time.Duration
		want     eventloop.Tick
	}{
		{true, time.Minute, now + eventloop.Ticks(probesAfter)},
		{true, 0, eventloop.Never},
		{false, time.Minute, eventloop.Never},
	} {
		s := Start{Opaque: c.opaque, Limits: Limits{KeepaliveInterval: c.interval, KeepaliveTimeout: time.Second}}
		if r := newRecord(&s, now, testTicks.sets); r.probesDue() != c.want {
			t.Errorf("%+v: due at %d", c, r.probesDue())
		} else if at := r.due(now, testTicks); c.opaque && at != c.want {
			t.Errorf("%+v: the timer expires at %d", c, at)
		} else if r.expired(at, testTicks, nil); r.cause != session.None || c.opaque && r.sides[session.Client].flags&wantPing != 0 {
			t.Errorf("%+v: %s, flags %b", c, r.cause, r.sides[session.Client].flags)
		}
	}
}
