package operate

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
)

var started = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func when(d time.Duration) *time.Time { t := started.Add(d); return &t }

// status has a backend in each state. Its drains are over.
func status() api.Status {
	drain := func(left time.Duration) *api.Drain {
		return &api.Drain{Since: started, Deadline: started.Add(left)}
	}
	up := api.Rates{Over: 10, Opened: 0.5, Messages: 1234}
	backends := []api.Backend{
		{Name: "ws1", Address: "10.0.0.1:3000", State: "up", Weight: 2, Share: 1, Sessions: 17, MaxSessions: 500, Requests: 1, Source: "file", Since: when(-time.Hour),
			LastCheck: &api.Check{At: started.Add(-4 * time.Second), OK: true, Duration: 0.0023}, Counts: api.Counts{Rates: up, Handshake: &api.Latency{P99: 0.0123}}},
		{Name: "spare", Address: "10.0.0.2:3000", State: "up", Weight: 1, Share: 0.25, Backup: true, Reason: "it is up again", Source: "runtime", Changed: []string{"added", "weight"}, Counts: api.Counts{Rates: api.Rates{Over: 10, Opened: 25}, Handshake: &api.Latency{P99: 2}}},
		{Name: "down", Address: "ws3.internal.example.com:3000", State: "down", Share: 1, Reason: "health check failed: dial tcp 10.0.0.3:3000: connect: connection refused", Source: "dns ws3.internal.example.com",
			Since: when(-26 * time.Hour), LastCheck: &api.Check{At: started.Add(-90 * time.Second), Reason: "connection refused"}},
		{Name: "leaving", State: "drain", Share: 1, Sessions: 3, Reason: "asked for", Drain: drain(time.Hour + 400*time.Millisecond), Certificate: &api.BackendCertificate{DaysLeft: 2.25}},
		{Name: "late", State: "drain", Share: 1, Sessions: 3, Reason: "asked for", Drain: drain(-time.Minute)},
		{Name: "empty", State: "drain", Share: 1, Drain: drain(time.Hour), Certificate: &api.BackendCertificate{DaysLeft: -1}},
		{Name: "gone\x1b[2J", State: "removed", Share: 1, Sessions: 1},
	}
	return api.Status{
		Version: "v1.2.3", Started: started, Draining: true, DrainingSince: when(time.Hour), Generation: 4, ConfigFile: "/etc/holdfast/holdfast.yaml", Changes: 2,
		Pools: []api.Pool{
			{Name: "chat", LearnedKeys: 12, Queued: 1, Rebalance: &api.Rebalance{Active: true, Excess: 5, Given: 7}, Backends: backends,
				Discovery: []api.Discovery{{Source: "dns ws3.internal.example.com", LastError: "no such host"}}},
			{Name: "api", LearnedKeys: 1, Queued: 2, Backends: []api.Backend{{Name: "[::1]:3001", Address: "[::1]:3001", State: "up", Weight: 1, Share: 1}}},
			{Name: "ns/svc:80", Backends: []api.Backend{{Name: "a", Address: "10.0.0.7:80", State: "up", Weight: 1, Share: 1}}},
		},
		Certificates: []api.Certificate{
			{Cert: "/etc/holdfast/example.com.pem", Names: []string{"example.com", "*.example.com"}, Key: "ECDSA P-256", NotAfter: started.AddDate(0, 0, 40), DaysLeft: 40},
			{Cert: "acme", Names: []string{"ws.example.org"}, Key: "ECDSA P-256", NotAfter: started, DaysLeft: -0.5},
			{Cert: "old.pem", Key: "RSA 2048", NotAfter: started, DaysLeft: 3, Problem: "old.key: no such file"},
		},
		Totals: api.Totals{Active: 24, Opened: 40, FromClient: api.Traffic{Messages: 1}, FromBackend: api.Traffic{Messages: 3}},
	}
}

var routes = []api.Route{
	{Name: "ws.example.com/ws", Listener: []string{"public", "internal"}, Pool: "chat", Auth: []string{"jwt", "origins"}},
	{Name: "/split", Split: map[string]int{"chat": 3, "api": 1}},
	{Name: "/old", Answer: "redirect 308"},
}

var changes = []api.Change{
	{Pool: "ns/svc:80", Backend: "a", Field: "weight", File: "1", Now: "3", Since: started},
	{Pool: "gone", Backend: "ws1", Field: "admin", File: "ready", Now: "maint", Since: started, Problem: "the pool left the configuration"},
	{Pool: "chat", Backend: "spare", Field: "added", Now: "10.0.0.2:3000", Since: started},
}

var events = []api.Event{
	{ID: 1, Time: started, Kind: "reload", Level: "info", Message: "configuration 4 is in use"},
	{ID: 2, Time: started.Add(time.Second), Kind: "drain", Level: "info", Pool: "chat", Backend: "ws1", Message: "a backend is being emptied \x1b]0;x\a", Detail: map[string]any{"sessions": 3}},
	{ID: 5, Time: started.Add(2 * time.Second), Kind: "missed", Level: "warn", Message: "2 events are lost"},
}

func liveSessions() []api.Session {
	one := api.Session{ID: "AMNCA2EK43LOCF7DUFPG", Client: "203.0.113.7:37524", Route: "ws.example.com/ws", Pool: "chat", Backend: "ws1", Opened: started,
		Age: 93784, Idle: 0.25, FromClient: api.Traffic{Messages: 7, Bytes: 100}, FromBackend: api.Traffic{Messages: 12, Bytes: 5 << 20}}
	two := one
	two.ID, two.Client, two.Age, two.Idle, two.Claims = "BMNCA2EK43LOCF7DUFPG", "[2001:db8:1234:5678:9abc:def0:1234:5678]:54321", 7500, 605, map[string]string{"sub": "alice", "org": "\x1b[31mred\u202e"}
	three := one
	three.ID, three.Backend, three.Age = "CMNCA2EK43LOCF7DUFPG", "a\nb\u009b", 12
	last := one
	last.ID, last.Age = "EMNCA2EK43LOCF7DUFPG", 59.9
	return []api.Session{one, two, three, one, last}
}

// The tables at several widths: of a pipe, of a usual terminal, and of a narrow one.
func TestTables(t *testing.T) {
	s := status()
	for name, show := range map[string]*table.Table{
		"backends": backendTable(s.Pools, started), "sources": sourceTable(s.Pools, started), "certificates": certificateTable(s.Certificates),
		"sessions": sessionTable(liveSessions()), "changes": changeTable(changes), "routes": routeTable(routes),
	} {
		var all strings.Builder
		for _, width := range []int{0, 80, 50} {
			fmt.Fprintf(&all, "-- %d --\n", width)
			var out strings.Builder
			if err := show.Write(&out, width); err != nil {
				t.Fatal(err)
			}
			all.WriteString(out.String())
			for line := range strings.Lines(out.String()) {
				if width == 80 && len([]rune(line)) > width+1 {
					t.Errorf("%s: wider than 80: %s", name, line)
				}
			}
		}
		golden.Compare(t, filepath.Join("testdata", "table_"+name+".txt"), all.String())
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 1500 * time.Millisecond: "1.5s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 125 * time.Minute: "2h5m", 76 * time.Hour: "3d4h",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 1 << 62: "4194304.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
