package relay

import (
	"net"
	"testing"
	"time"
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
		{1500 * time.Millisecond, 3 * time.Second, net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}},
		{time.Minute, 7 * time.Second, net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 2 * time.Second, Count: 4}},
		{8760 * time.Hour, 8760 * time.Hour, net.KeepAliveConfig{Enable: true, Idle: 32767 * time.Second, Interval: 32767 * time.Second, Count: 127}},
	} {
		s := Start{Opaque: true, Limits: Limits{KeepaliveInterval: c.interval, KeepaliveTimeout: c.timeout}}
		if got, ok := s.probes(); !ok || got != c.want {
			t.Errorf("%v and %v: %+v, %v, want %+v", c.interval, c.timeout, got, ok, c.want)
		}
		s.Opaque = false
		if _, ok := s.probes(); ok {
			t.Error("a session of frames has pings")
		}
	}
	off := Start{Opaque: true, Limits: Limits{KeepaliveTimeout: time.Second}}
	if _, ok := off.probes(); ok {
		t.Error("it is off")
	}
}
