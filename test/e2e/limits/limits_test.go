//go:build unix

package limits

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	one, two, checker = "127.0.0.2", "127.0.0.3", "127.0.0.4"
	pool              = "pools: {main: {backends: [{name: a, address: %q}]}}\nadmin: {address: \"127.0.0.1:0\"}\n"
)

// start starts a balancer with one backend and more of a file, which has listeners.
func start(t *testing.T, engine, more string) *kit.Balancer {
	t.Helper()
	return kit.StartBalancer(t, file(kit.StartBackends(t, 1)[0].Address, engine, more))
}

func file(backend, engine, more string) string {
	return fmt.Sprintf(pool, backend) + "engine: " + engine + "\n" + more + "\n"
}

// admitted opens a session that must be admitted.
func admitted(t *testing.T, b *kit.Balancer, from, path string, header ...string) *wspeer.Conn {
	t.Helper()
	w, _, err := kit.DialFrom(t, from, b.Address, path, header...)
	if err != nil {
		t.Fatalf("from %s to %s: %v", from, path, err)
	}
	return w
}

// refused wants a session to be refused with a status, and returns Retry-After.
func refused(t *testing.T, b *kit.Balancer, from, path string, status int, header ...string) (retryAfter int) {
	t.Helper()
	_, res, err := kit.DialFrom(t, from, b.Address, path, header...)
	if res == nil || res.StatusCode != status {
		t.Fatalf("from %s to %s: %v, want status %d", from, path, err, status)
	}
	if retryAfter, err = strconv.Atoi(res.Header.Get("Retry-After")); err != nil {
		t.Errorf("Retry-After is %q", res.Header.Get("Retry-After"))
	}
	return retryAfter
}

// Sessions of one address are limited, in all and on a route. Their ends make room,
// and a reload changes the limits and keeps the counts.
func TestSessionsOfOneAddress(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		backend := kit.StartBackends(t, 1)[0].Address
		with := func(most int) string {
			return file(backend, engine, fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0"}]
limits: {max_sessions_per_address: %d, exempt: [%s/32]}
routes:
  - {match: {path: /quiet}, pool: main, limits: {max_sessions_per_address: 1}}
  - {match: {path: /free}, pool: main, limits: {max_sessions_per_address: 0}}
  - {match: {path: /echo}, pool: main}
  - {pool: main}
`, most, checker))
		}
		b := kit.StartBalancer(t, with(2))
		first := admitted(t, b, one, "/echo")
		admitted(t, b, one, "/")
		if after := refused(t, b, one, "/echo", http.StatusTooManyRequests); after < 5 || after > 30 {
			t.Errorf("Retry-After is %d, want 5 to 30", after)
		}
		admitted(t, b, two, "/echo")
		admitted(t, b, one, "/quiet")
		refused(t, b, one, "/quiet", http.StatusTooManyRequests)
		for range 5 {
			admitted(t, b, one, "/free/1")
			admitted(t, b, checker, "/echo")
		}
		entry := b.FindLog(t, "handshake refused", 0, "result=address_sessions", "path=/quiet")
		if client := entry["client"].(string); !strings.HasPrefix(client, one+":") {
			t.Errorf("the log has client %q", client)
		}
		m := b.Metrics(t)
		if n := m[`holdfast_handshakes_total{result="address_sessions"}`]; n != 2 {
			t.Errorf("%v refusals are counted, want 2", n)
		}
		if n := m["holdfast_limits_counted"]; n != 3 { // one twice, and two
			t.Errorf("%v counts, want 3", n)
		}
		kit.WantEcho(t, first, "still here")

		b.WriteConfig(t, with(3))
		b.Reload(t, kit.Reloaded)
		admitted(t, b, one, "/echo")
		refused(t, b, one, "/echo", http.StatusTooManyRequests)
		b.WriteConfig(t, with(1))
		b.Reload(t, kit.Reloaded)
		refused(t, b, two, "/echo", http.StatusTooManyRequests)
		kit.WantEcho(t, first, "not closed by a smaller limit")
		b.WriteConfig(t, with(3))
		b.Reload(t, kit.Reloaded)
		first.Close()
		testkit.Eventually(t, "room after the end of a session", func() bool {
			_, _, err := kit.DialFrom(t, one, b.Address, "/echo")
			return err == nil
		})
		refused(t, b, one, "/echo", http.StatusTooManyRequests)
	})
}

// New sessions of one address come at a rate. Retry-After says when the next one may.
func TestNewSessionsOfOneAddress(t *testing.T) {
	t.Parallel()
	b := start(t, "auto", `
listeners: [{name: public, address: "127.0.0.1:0"}]
limits: {new_sessions_per_address: {rate: 6/h, burst: 3}}
forwarded: {trust: [127.0.0.9/32]}
`)
	for range 3 {
		admitted(t, b, one, "/echo").Close() // that it has ended changes nothing
	}
	if after := refused(t, b, one, "/echo", http.StatusTooManyRequests); after < 1 || after > 600 {
		t.Errorf("Retry-After is %d, want at most 600", after)
	}
	admitted(t, b, two, "/echo")

	// Behind a trusted proxy, clients are told apart.
	for i := range 5 {
		admitted(t, b, "127.0.0.9", "/echo", kit.ForwardedFor(i))
	}
	for range 2 {
		admitted(t, b, "127.0.0.9", "/echo", "X-Forwarded-For: 2001:db8::1")
	}
	admitted(t, b, "127.0.0.9", "/echo", "X-Forwarded-For: 2001:db8::ffff:2")
	refused(t, b, "127.0.0.9", "/echo", http.StatusTooManyRequests, "X-Forwarded-For: 2001:db8::3")
	admitted(t, b, "127.0.0.9", "/echo", "X-Forwarded-For: 2001:db8:0:1::3")
	refused(t, b, "127.0.0.9", "/echo", http.StatusTooManyRequests, "X-Forwarded-For: "+one)

	// Plain HTTP isn't limited by it.
	for range 5 {
		if res, err := kit.GetFrom(t, one, b.Address, "/"); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("plain HTTP: %v, %v", res, err)
		}
	}
	if n := b.Metrics(t)[`holdfast_handshakes_total{result="address_rate"}`]; n != 3 {
		t.Errorf("%v refusals are counted, want 3", n)
	}
}

// A listener that is full refuses, and leaves room on the others.
func TestSessionsOfAListener(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		b := start(t, engine, `
listeners:
  - {name: public, address: "127.0.0.1:0", max_sessions: 2}
  - {name: internal, address: "127.0.0.1:0"}
`)
		internal := b.FindLog(t, "started", 0)["listeners"].([]any)[1].(string)
		admitted(t, b, one, "/echo")
		plain, err := kit.ConnectFrom(one, b.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		fmt.Fprintf(plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := plain.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		var last *wspeer.Conn
		testkit.Eventually(t, "the place of plain HTTP, which waits for nothing", func() bool {
			var err error
			last, _, err = kit.DialFrom(t, two, b.Address, "/echo")
			return err == nil
		})
		refused(t, b, two, "/echo", http.StatusServiceUnavailable)
		if res, err := kit.GetFrom(t, one, b.Address, "/"); err != nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("plain HTTP: %v, %v, want 503", res, err)
		}
		for range 5 {
			if _, _, err := kit.DialFrom(t, two, internal, "/echo"); err != nil {
				t.Fatalf("the other listener: %v", err)
			}
		}
		last.Close()
		testkit.Eventually(t, "room after the end of a session", func() bool {
			_, _, err := kit.DialFrom(t, two, b.Address, "/echo")
			return err == nil
		})
		refused(t, b, two, "/echo", http.StatusServiceUnavailable)
		b.FindLog(t, "handshake refused", 0, "result=listener_sessions")
	})
}

// A session that is moved is the same session, and its end gives its place back.
func TestMovedSessionsAreCountedOnce(t *testing.T) {
	t.Parallel()
	const sessions = 20
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 2)
		yaml := kit.DrainFile(engine, backends, "reattach: {on: drain}", "drain: {timeout: 60s, spread: 0s}") +
			fmt.Sprintf("limits: {max_sessions_per_address: %d, new_sessions_per_address: {rate: 1/h, burst: %d}}\n", sessions, sessions)
		b := kit.StartBalancer(t, yaml)
		all := kit.OpenMany(t, b.Address, "/echo", sessions)
		refused(t, b, "127.0.0.1", "/echo", http.StatusTooManyRequests)
		b.Command(t, 0, "drain", "main/a")
		b.AwaitMetrics(t, "moved", func(m kit.Metrics) bool { return m.Moves("drain", "moved") == sessions/2 })
		for _, w := range all {
			kit.WantEcho(t, w, "moved or not")
		}
		if n := b.Metrics(t)["holdfast_limits_counted"]; n != 1 {
			t.Errorf("%v counts, want that of one address", n)
		}
		kit.CutAll(all)
		b.AwaitMetrics(t, "nothing counted", func(m kit.Metrics) bool { return m["holdfast_limits_counted"] == 0 })
	})
}

// At layer 4, a connection is a session.
func TestConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		b := start(t, engine, `
listeners: [{name: public, address: "127.0.0.1:0", mode: tcp, pool: main}]
limits: {max_sessions_per_address: 2}
`)
		admitted(t, b, one, "/echo")
		last := admitted(t, b, one, "/echo")
		if _, res, err := kit.DialFrom(t, one, b.Address, "/echo"); err == nil || res != nil {
			t.Errorf("a third connection: %v, %v, want its end", res, err)
		}
		b.FindLog(t, "handshake refused", 0, "result=address_sessions")
		admitted(t, b, two, "/echo")
		last.Close()
		testkit.Eventually(t, "room after the end of a connection", func() bool {
			_, _, err := kit.DialFrom(t, one, b.Address, "/echo")
			return err == nil
		})
	})
}
