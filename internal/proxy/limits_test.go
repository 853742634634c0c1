package proxy_test

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/tally"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// limited is a policy of so many sessions of an address, and so many new ones: the next
// is allowed in a day.
func limited(sessions, burst int) generation.Policy {
	return generation.Policy{Limits: limit.Rules{
		Sessions: limit.Max{Max: sessions},
		New:      limit.Rate{Rate: tally.Rate{Every: 24 * time.Hour, Burst: burst}},
	}}
}

// A handshake that waits in a queue has its place and its token, and needs no others
// when its turn comes.
func TestLimitsOfQueuedHandshakes(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		q := slow(ratelimit.Options{QueueTimeout: 20 * time.Second})
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, admit: q, policy: limited(2, 3)})
		b.dial().send(upgrade("/")).want(101)
		waits := b.dial().send(upgrade("/"))
		b.awaitQueue(q, 1)
		resp, _ := b.dial().send(upgrade("/")).want(429)
		if n := retryAfter(t, resp); n < 5 || n > 30 {
			t.Errorf("Retry-After of address_sessions: %d", n)
		}
		resp, _ = b.dial().send(upgrade("/")).want(429)
		if n := retryAfter(t, resp); n < 80_000 || n > 86_400 {
			t.Errorf("Retry-After of address_rate: %d, want about a day", n)
		}
		q.Configure(ratelimit.Options{Rate: 100, Burst: 10, Queue: 100})
		waits.want(101)
		b.wait("the results", func() bool { return len(b.results) == 4 })
		if want := []string{"opened", "address_sessions", "address_rate", "opened"}; !slices.Equal(b.allResults(), want) {
			t.Errorf("results %q, want %q", b.allResults(), want)
		}
	})
}

// Whoever makes TLS handshakes for nothing gets no more of them for a while. Whoever
// makes requests on them does.
func TestTLSHandshakesForNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, config := onTLS(t, false)
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, policy: limited(plenty, 100), common: limited(0, 2).Limits, listener: listener})
		for range 5 {
			b.dialTLS(config).send(upgrade("/")).want(101)
		}
		b.dialTLS(config).Close()
		b.wait("the end of the first", func() bool { return b.left == 1 })
		h2 := config.Clone()
		h2.NextProtos = []string{"h2"}
		b.dialTLS(h2).Close()
		testkit.Eventually(t, "the end of the second", func() bool {
			stats := b.gate.Stats()
			return stats.Sessions == 5 && stats.Handshakes == 0
		})
		conn, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		if err := tls.Client(conn, config).Handshake(); err == nil || !strings.Contains(err.Error(), "internal error") {
			t.Errorf("a third handshake: %v, want an alert", err)
		}
		b.wait("the results", func() bool { return len(b.results) == 6 && b.results[5] == "address_rate" })
	})
}

// A handshake that has failed doesn't count any more when its client gets the answer, even
// if the connection stays open.
func TestFailedHandshakesGiveTheirPlaceBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		declines := answering(t, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
		broken := answering(t, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		for answer, backend := range map[int]*backend{401: declines, 502: broken} {
			b := start(t, engine, setup{backends: []string{backend.addr}, policy: limited(1, 1000)})
			for range 10 {
				b.dial().send(upgrade("/")).want(answer)
			}
		}
	})
}

// Connections of plain HTTP that wait for nothing don't keep WebSockets out of a listener
// that may have no more.
func TestIdleHTTPMakesRoomOnItsListener(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := start(t, engine, setup{backends: []string{echoing(t, "one").addr}, listener: transport.ListenerSpec{Name: "small", MaxSessions: 2}})
		clients := []*client{b.dial(), b.dial()}
		for _, c := range clients {
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").want(200)
		}
		for range 2 {
			testkit.Eventually(t, "a WebSocket opens", func() bool {
				resp, _ := b.dial().send(upgrade("/")).answer()
				return resp.StatusCode == 101
			})
		}
		b.dial().send(upgrade("/")).want(503)
		for _, c := range clients {
			c.wantEnd()
		}
	})
}
