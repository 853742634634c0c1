//go:build unix

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// moody is a running node/moody.js: a server whose health the test chooses.
type moody struct {
	*process
	name    string
	address string
}

// startMoody starts n of them, called a, b, ...
func startMoody(t testing.TB, n int) []*moody {
	t.Helper()
	var all []*moody
	for i := range n {
		name := backendName(i)
		all = append(all, &moody{process: start(t, "moody "+name, node(t, "moody.js", name)), name: name})
	}
	for _, m := range all {
		listening := m.stdout.find(t, "listening", 0, func(line string) bool { return parseEvent(line)["event"] == "listening" })
		m.address = parseEvent(listening)["address"].(string)
	}
	for _, m := range all {
		// What Node does for the first time takes long, and the first check
		// of a backend must not find it asleep.
		res, err := http.Get("http://" + m.address + "/health")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		w, _, err := dialWire(m.address, "/")
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	return all
}

// set changes its mood, given as JSON, and returns when that is done.
func (m *moody) set(t testing.TB, mood string) {
	t.Helper()
	before := m.stdout.position()
	if _, err := io.WriteString(m.stdin.(io.Writer), mood+"\n"); err != nil {
		t.Fatal(err)
	}
	m.stdout.find(t, "change of mood", before, func(line string) bool { return parseEvent(line)["event"] == "mood" })
}

// checks counts the health checks of a kind that found it in a mood: of "http"
// the status, of "websocket" its word.
func (m *moody) checks(kind, mood string) (n int) {
	all, _, _, _ := m.stdout.after(0)
	for _, line := range all {
		if e := parseEvent(line); e["event"] == "check" && e["kind"] == kind && e["mood"] == mood {
			n++
		}
	}
	return n
}

// awaitChecks waits until there were n such checks in all. The server tells of
// a check before it answers, but what it tells may come here after what the
// balancer tells of the answer.
func (m *moody) awaitChecks(t testing.TB, n int, kind, mood string) {
	t.Helper()
	await(t, kind+" checks of "+m.name, func() bool { return m.checks(kind, mood) >= n })
}

// knock opens a session and closes it. It returns the X-Backend of the answer
// and its status.
func knock(t testing.TB, b *balancer, path string) (backend string, status int) {
	t.Helper()
	w, res, err := dialWire(b.address, path)
	if res == nil {
		t.Fatalf("a handshake got no answer: %v", err)
	}
	if err == nil {
		defer w.Close()
		w.sendClose(1000, "")
	}
	return res.Header.Get("X-Backend"), res.StatusCode
}

// knocks opens and closes n sessions, one after the other, all of which must
// succeed. It returns how many each backend got.
func knocks(t testing.TB, b *balancer, path string, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		backend, status := knock(t, b, path)
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("a handshake got status %d of backend %q", status, backend)
		}
		got[backend]++
	}
	return got
}

// stay opens a session that is there until the test's end.
func stay(t testing.TB, b *balancer, path string) (w *wire, backend string) {
	t.Helper()
	w, res, err := dialWire(b.address, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, res.Header.Get("X-Backend")
}

// leave closes sessions and waits until the balancer has none.
func leave(t testing.TB, b *balancer, sessions ...*wire) {
	t.Helper()
	for _, w := range sessions {
		w.sendClose(1000, "")
		w.Close()
	}
	b.awaitSessions(t, 0)
}

// configured is how servers stand in a configuration file.
func configured(servers ...*moody) string {
	var list []string
	for _, m := range servers {
		list = append(list, fmt.Sprintf("{name: %s, address: %q}", m.name, m.address))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// withPools is a configuration file with these pools and what follows them, and
// with timeouts such as "connect: 1s".
func withPools(pools string, timeouts ...string) string {
	return fmt.Sprintf(`listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
timeouts: {%s}
pools:
%s
`, strings.Join(append(timeouts, "shutdown: 500ms"), ", "), pools)
}
