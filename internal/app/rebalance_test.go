package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// rebalanceFile has a pool with the fastest rebalance.
func rebalanceFile(engine string, backends ...string) string {
	text := "pools:\n  chat:\n    rebalance: {rate: 100/s, min_age: 0}\n    backends:\n"
	for i, address := range backends {
		text += fmt.Sprintf("      - {name: %c, address: %q}\n", 'a'+i, address)
	}
	return pools(engine, text)
}

// onEach returns the number of sessions of each backend, by name.
func (r *running) onEach() map[string]int {
	n := map[string]int{}
	for _, p := range r.status().Pools {
		for _, b := range p.Backends {
			n[b.Name] = b.Sessions
		}
	}
	return n
}

func (r *running) wantEach(want map[string]int) {
	r.t.Helper()
	var got map[string]int
	deadline := time.Now().Add(testkit.Patience)
	for ; ; time.Sleep(20 * time.Millisecond) {
		if got = r.onEach(); fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the backends have %v, want %v; log:\n%s", got, want, r.log)
		}
	}
}

// A backend that joins gets its fair share; clients notice nothing if sessions can
// be moved.
func TestRebalanceMoves(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one, two, three := backend(t, "one"), backend(t, "two"), backend(t, "three")
		file := func(backends ...string) string {
			return strings.Replace(rebalanceFile(engine, backends...), "    rebalance:", "    reattach: {timeout: 5s}\n    rebalance:", 1)
		}
		r := start(t, file(one, two))
		var all []*ws
		for range 30 {
			all = append(all, r.open("/"))
		}
		r.wantEach(map[string]int{"a": 15, "b": 15})
		r.mustReload(file(one, two, three))
		r.wantEach(map[string]int{"a": 10, "b": 10, "c": 10})
		testkit.Eventually(t, "the pool is even again", func() bool { return strings.Contains(r.log.String(), "a pool is even again") })
		var metrics string
		testkit.Eventually(t, "the moves are done", func() bool { // c has kept the sessions for a moment
			done := strings.Count(r.log.String(), "session moved") == 10
			_, metrics = get("http://" + r.AdminAddr() + "/metrics")
			return done
		})
		for _, line := range []string{`holdfast_reattach_total{backend="a",pool="chat",reason="rebalance",result="moved"} 5`,
			`holdfast_reattach_total{backend="b",pool="chat",reason="rebalance",result="moved"} 5`, `holdfast_rebalance_excess{pool="chat"} 0`} {
			if !strings.Contains(metrics, line+"\n") {
				t.Errorf("no %s in\n%s", line, metrics)
			}
		}
		on := map[string]int{}
		for _, w := range all {
			on[w.answer("who")]++
		}
		if fmt.Sprint(on) != "map[one: who:10 three: who:10 two: who:10]" {
			t.Errorf("answers came from %v", on)
		}
		// The oldest were: those that came first to each. The lines of two that came one
		// after the other may be in the wrong order, since two loops write them.
		moved := map[string]bool{}
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, "session moved") {
				moved[id(t, line)] = true
			}
		}
		opened := 0
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, "session open") {
				opened++
				if is := moved[id(t, line)]; is != (opened <= 10) && opened != 10 && opened != 11 {
					t.Errorf("session %d, of 30 by age: moved is %v", opened, is)
				}
			}
		}
	})
}

// id returns the session's id of a log line.
func id(t *testing.T, line string) string {
	t.Helper()
	var entry struct{ ID string }
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatal(err)
	}
	return entry.ID
}

// If sessions can't be moved, they are closed; their clients come back and go to
// the backends with fewer sessions, with every algorithm.
func TestRebalanceCloses(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one, two, three := backend(t, "one"), backend(t, "two"), backend(t, "three")
		file := func(backends ...string) string {
			return strings.Replace(rebalanceFile(engine, backends...), "    rebalance:", "    balance: round_robin\n    rebalance:", 1)
		}
		r := start(t, file(one, two))
		var all []*ws
		for range 30 {
			all = append(all, r.open("/"))
		}
		r.mustReload(file(one, two, three))
		var told int
		for i, w := range all {
			if i >= 10 {
				break // the oldest are told
			}
			if reason := w.wantClose(websocket.StatusServiceRestart); reason != "rebalancing" {
				t.Errorf("the reason is %q", reason)
			}
			told++
			all = append(all, r.open("/"))
		}
		r.wantEach(map[string]int{"a": 10, "b": 10, "c": 10})
		testkit.Eventually(t, "the pool is even again", func() bool { return strings.Contains(r.log.String(), "a pool is even again") })
		for _, w := range all[told:] {
			w.answer("still there")
		}
		if _, metrics := get("http://" + r.AdminAddr() + "/metrics"); !strings.Contains(metrics, `holdfast_session_closes_total{backend="a",cause="rebalanced",code="1012",pool="chat"} 5`+"\n") ||
			!strings.Contains(metrics, `holdfast_session_closes_total{backend="b",cause="rebalanced",code="1012",pool="chat"} 5`+"\n") {
			t.Errorf("counted wrongly:\n%s", metrics)
		}
	})
}

// With a hash, sessions are moved only if sticky is move; rooms stay together as
// far as possible.
func TestRebalanceSticky(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one, two, three := backend(t, "one"), backend(t, "two"), backend(t, "three")
		file := func(backends ...string) string {
			text := strings.Replace(rebalanceFile(engine, backends...), "min_age: 0", "min_age: 0, sticky: move", 1)
			return strings.Replace(text, "chat:\n", "chat:\n    balance: hash\n    hash: {key: query:room, bound: 0}\n    reattach: {timeout: 5s}\n", 1)
		}
		r := start(t, file(one, two))
		for i := range 30 {
			r.open(fmt.Sprintf("/?room=%d", i))
		}
		r.mustReload(file(one, two, three))
		testkit.Eventually(t, "the pool is even again", func() bool { return strings.Contains(r.log.String(), "a pool is even again") })
		// A session on its way counts with both backends, so one more or less
		// may seem to have room.
		for name, n := range r.onEach() {
			if n < 9 || n > 11 {
				t.Errorf("%s has %d sessions, want 10", name, n)
			}
		}
	})
}

// A reload that removes rebalance stops it at once, and one that adds it again
// continues it.
func TestRebalanceRemovedByReload(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one, two := backend(t, "one"), backend(t, "two")
		file := func(rebalance string, backends ...string) string {
			text := strings.Replace(rebalanceFile(engine, backends...), "    rebalance: {rate: 100/s, min_age: 0}\n", rebalance, 1)
			return strings.Replace(text, "chat:\n", "chat:\n    reattach: {timeout: 5s}\n", 1)
		}
		const slowly = "    rebalance: {rate: 2/s, min_age: 0}\n"
		r := start(t, file(slowly, one))
		for range 20 {
			r.open("/")
		}
		r.mustReload(file(slowly, one, two))
		testkit.Eventually(t, "the first is moved", func() bool { return r.onEach()["b"] > 0 })
		if s := r.status().Pools[0].Rebalance; s == nil || !s.Active || s.Since == nil || s.Excess == 0 || s.Given == 0 {
			t.Errorf("status says %+v", s)
		}
		r.mustReload(file("", one, two))
		time.Sleep(time.Second) // for those that had their turn
		before := r.onEach()["b"]
		time.Sleep(2 * time.Second)
		if after := r.onEach()["b"]; after != before || after == 10 {
			t.Errorf("b had %d sessions when rebalance was taken away, and has %d", before, after)
		}
		if s := r.status().Pools[0].Rebalance; s != nil {
			t.Errorf("status says %+v", s)
		}
		r.mustReload(file(strings.Replace(slowly, "2/s", "100/s", 1), one, two))
		r.wantEach(map[string]int{"a": 10, "b": 10})
	})
}
