//go:build unix

package balance

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// echoes fails if a session doesn't live.
func echoes(t testing.TB, w *wspeer.Conn) {
	t.Helper()
	if err := w.SendText("still there?"); err != nil {
		t.Fatal(err)
	}
	if text, err := w.Message(); err != nil || text != "still there?" {
		t.Fatalf("the session gave %q, %v", text, err)
	}
}

// A backup, on Node's ws, gets sessions and requests while both primaries are down. When
// they are back it keeps the sessions that it has, although the pool is rebalanced, and the
// clients whose cookie names it.
func TestBackup(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := kit.StartToggleable(t, 3)
		list := strings.Replace(kit.BackendList(servers...), "{name: c,", "{backup: true, name: c,", 1)
		b := kit.StartBalancer(t, kit.ConfigWithPools(`  main:
    `+cookieKeys+`    health: {http: {path: /health}, interval: 100ms, timeout: 90ms, fall: 1, rise: 1, max_fails: 0}
    reattach: {on: [rebalance]}
    rebalance: {above: 1%, rate: 1000/s, min_age: 0, sticky: move}
    backends: `+list)+"engine: "+engine+"\n")
		set := func(state string, servers ...*kit.ToggleableBackend) {
			t.Helper()
			for _, s := range servers {
				status, name := "200", "up"
				if state == "down" {
					status, name = "500", "down"
				}
				s.SetState(t, `{"health": `+status+`}`)
				b.AwaitBackend(t, s.Name, name)
			}
		}
		set("up", servers...)
		if got := kit.OpenAndCloseMany(t, b, "/", 20); got["c"] > 0 || got["a"] == 0 || got["b"] == 0 {
			t.Errorf("with all up, sessions went to %v", got)
		}
		set("down", servers[0])
		if got := kit.OpenAndCloseMany(t, b, "/", 10); got["b"] != 10 {
			t.Errorf("with one up, sessions went to %v", got)
		}
		set("down", servers[1])
		if got, _ := kit.AnsweredByHTTP(t, b.Address, "/"); got != "c" {
			t.Errorf("a page came from %q, want the backup", got)
		}
		_, res := kit.ServedBy(t, b.Address, "/")
		mine := mark(t, res)
		var open []*wspeer.Conn
		for range 10 {
			w, server := kit.Open(t, b, "/")
			if server != "c" {
				t.Fatalf("a session went to %q, want the backup", server)
			}
			open = append(open, w)
		}
		set("up", servers[:2]...)
		for range 5 {
			if _, server := kit.Open(t, b, "/"); server == "c" {
				t.Error("a session went to the backup, though the others are back")
			}
		}
		if got, _ := kit.ServedBy(t, b.Address, "/", mine); got != "c" {
			t.Errorf("a client of the backup came to %s", got)
		}
		for _, w := range open {
			echoes(t, w)
		}
		if n := b.SessionsByBackend(t)["c"]; n != len(open) {
			t.Errorf("the backup has %d sessions, want the %d it had", n, len(open))
		}
		if m := b.Metrics(t); m[`holdfast_rebalance_excess{pool="main"}`] != 0 {
			t.Errorf("the sessions of the backup are %v in excess", m[`holdfast_rebalance_excess{pool="main"}`])
		}
		for name, backup := range map[string]bool{"a": false, "b": false, "c": true} {
			if s := b.Backend(t, "main", name); s.Backup != backup {
				t.Errorf("/status says that %s is a backup: %v", name, s.Backup)
			}
		}
		if shown := kit.Run(t, "status", "--admin", b.Admin).Stdout; strings.Count(shown, "up (backup)") != 1 {
			t.Errorf("holdfast status shows\n%s", shown)
		}
	})
}

// A backup gets what full primaries can't take, and a handshake that has failed at each of
// them, within that handshake.
func TestBackupOfFullAndDead(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		file := kit.PoolFile(engine, servers, "health: {max_fails: 0}\n", "")
		file = strings.Replace(file, "{name: amalthea,", "{backup: true, name: amalthea,", 1)
		file = strings.Replace(file, "{name: callisto,", "{max_sessions: 1, name: callisto,", 1)
		file = strings.Replace(file, "{name: ganymede,", "{max_sessions: 1, name: ganymede,", 1)
		b := kit.StartBalancer(t, file)
		var first *wspeer.Conn
		for i := range 5 {
			w, server := kit.Open(t, b, "/")
			if (server == "amalthea") != (i >= 2) {
				t.Errorf("session %d went to %s", i, server)
			}
			if i == 0 {
				first = w
			}
		}
		first.SendClose(1000, "")
		b.AwaitSessions(t, 4)
		if _, server := kit.Open(t, b, "/"); server == "amalthea" {
			t.Error("a session went to the backup, though another has room again")
		}
		named(servers, "ganymede").Down()
		named(servers, "callisto").Down()
		b.AwaitSessions(t, 3)
		if server, _ := kit.ServedBy(t, b.Address, "/"); server != "amalthea" {
			t.Errorf("with the others dead, a session went to %s", server)
		}
		if server, _ := kit.AnsweredByHTTP(t, b.Address, "/"); server != "amalthea" {
			t.Errorf("with the others dead, a page came from %s", server)
		}
	})
}
