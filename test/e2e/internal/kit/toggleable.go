//go:build unix

package kit

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// ToggleableBackend is a running node/toggleable.js: a server whose health the
// test chooses.
type ToggleableBackend struct {
	*process.Process
	Name    string
	Address string
}

// StartToggleable starts n backends, called a, b, ...
func StartToggleable(t testing.TB, n int) []*ToggleableBackend {
	t.Helper()
	var all []*ToggleableBackend
	for i := range n {
		name := BackendName(i)
		all = append(all, &ToggleableBackend{Process: process.Start(t, "backend "+name, Node(t, "toggleable.js", name)), Name: name})
	}
	for _, m := range all {
		listening := m.Stdout.Find(t, "listening", 0, func(line string) bool { return ParseEvent(line)["event"] == "listening" })
		m.Address = ParseEvent(listening)["address"].(string)
	}
	for _, m := range all {
		// Node takes long for what it does the first time. The first health
		// check must not have to wait for that.
		res, err := http.Get("http://" + m.Address + "/health")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		w, _, err := wspeer.Dial(m.Address, "/")
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	return all
}

// SetState changes its state, in the JSON of toggleable.js, and returns when that
// is done.
func (m *ToggleableBackend) SetState(t testing.TB, state string) {
	t.Helper()
	before := m.Stdout.Position()
	if _, err := io.WriteString(m.Stdin, state+"\n"); err != nil {
		t.Fatal(err)
	}
	m.Stdout.Find(t, "change of state", before, func(line string) bool { return ParseEvent(line)["event"] == "state" })
}

// Checks returns the number of health checks of a kind that found it in a state:
// a status for "http", a word of toggleable.js for "websocket".
func (m *ToggleableBackend) Checks(kind, state string) (n int) {
	for _, line := range m.Stdout.Lines(0) {
		if e := ParseEvent(line); e["event"] == "check" && e["kind"] == kind && e["state"] == state {
			n++
		}
	}
	return n
}

// AwaitChecks waits until there were n such checks in all. The server prints a
// check before it answers, but the test may read that after the balancer's log
// about the answer.
func (m *ToggleableBackend) AwaitChecks(t testing.TB, n int, kind, state string) {
	t.Helper()
	testkit.Eventually(t, kind+" checks of "+m.Name, func() bool { return m.Checks(kind, state) >= n })
}

// OpenAndClose opens a session and closes it. It returns the X-Backend and the
// status of the answer.
func OpenAndClose(t testing.TB, b *Balancer, path string, header ...string) (backend string, status int) {
	t.Helper()
	w, res, err := wspeer.Dial(b.Address, path, header...)
	if res == nil {
		t.Fatalf("a handshake got no answer: %v", err)
	}
	if err == nil {
		defer w.Close()
		w.SendClose(1000, "")
	}
	return res.Header.Get("X-Backend"), res.StatusCode
}

// OpenAndCloseMany opens and closes n sessions, one after the other. All must
// succeed. It returns how many each backend got.
func OpenAndCloseMany(t testing.TB, b *Balancer, path string, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		backend, status := OpenAndClose(t, b, path)
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("a handshake got status %d of backend %q", status, backend)
		}
		got[backend]++
	}
	return got
}

// Open opens a session that is cut at the end of the test.
func Open(t testing.TB, b *Balancer, path string) (w *wspeer.Conn, backend string) {
	t.Helper()
	w, res, err := wspeer.Dial(b.Address, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, res.Header.Get("X-Backend")
}

// CloseAll closes sessions and waits until the balancer has none.
func CloseAll(t testing.TB, b *Balancer, sessions ...*wspeer.Conn) {
	t.Helper()
	for _, w := range sessions {
		w.SendClose(1000, "")
		w.Close()
	}
	b.AwaitSessions(t, 0)
}

// BackendList returns the list of servers for a configuration file.
func BackendList(servers ...*ToggleableBackend) string {
	var list []string
	for _, m := range servers {
		list = append(list, fmt.Sprintf("{name: %s, address: %q}", m.Name, m.Address))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// ConfigWithPools returns a configuration file with pools and the YAML after them,
// and with timeouts such as "connect: 1s".
func ConfigWithPools(pools string, timeouts ...string) string {
	return fmt.Sprintf(`listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
timeouts: {%s}
pools:
%s
`, strings.Join(append(timeouts, "shutdown: 500ms"), ", "), pools)
}
