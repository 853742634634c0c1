package relay

import (
	"net"
	"time"
)

// probes makes the kernel find out that a side of a session of opaque bytes has vanished,
// as pings do in one of frames: after KeepaliveInterval without a byte from it, it is asked
// by TCP's keepalive for KeepaliveTimeout. While bytes are on their way to that side, the
// kernel sends those again instead, and gives up by its own rules (net.ipv4.tcp_retries2).
func (s *Start) probes() (c net.KeepAliveConfig, ok bool) {
	const longest = 32767 * time.Second // that Linux allows
	seconds := func(d time.Duration) time.Duration {
		return min(max(d+time.Second-1, time.Second).Truncate(time.Second), longest)
	}
	if !s.Opaque || s.Limits.KeepaliveInterval == 0 {
		return c, false
	}
	c = net.KeepAliveConfig{Enable: true, Idle: seconds(s.Limits.KeepaliveInterval), Interval: seconds(s.Limits.KeepaliveTimeout / 5)}
	timeout := max(s.Limits.KeepaliveTimeout, time.Second)
	c.Count = int(min((timeout+c.Interval-1)/c.Interval, 127)) // most that Linux allows
	return c, true
}

// probe sets probes for a connection of Go's net package. An error only means that its
// system, or a connection that isn't TCP, has none.
func (s *Start) probe(c net.Conn) {
	config, ok := s.probes()
	if above, is := c.(interface{ NetConn() net.Conn }); is {
		c = above.NetConn()
	}
	if tc, is := c.(*net.TCPConn); is && ok {
		_ = tc.SetKeepAliveConfig(config)
	}
}
