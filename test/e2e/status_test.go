//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// await waits until ok holds, asking again and again.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for until := time.Now().Add(patience); !ok(); <-pause.C {
		if time.Now().After(until) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// poolStatus is what GET /status tells of a pool.
type poolStatus struct {
	Name      string
	Sessions  int
	Queued    int
	Discovery []struct{ Source, Trouble string }
	Backends  []backendStatus
}

type backendStatus struct {
	Name, Address, State, Operational, Admin, Reason string
	Weight, Sessions                                 int
	Share                                            float64
}

func (b *balancer) pool(t testing.TB, name string) poolStatus {
	t.Helper()
	_, body := b.get(t, "/status")
	var status struct{ Pools []poolStatus }
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	i := slices.IndexFunc(status.Pools, func(p poolStatus) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no pool %q in %s", name, body)
	}
	return status.Pools[i]
}

// names are the pool's backends that are configured.
func (p poolStatus) names() (all []string) {
	for _, b := range p.Backends {
		if b.State != "removed" {
			all = append(all, b.Name)
		}
	}
	slices.Sort(all)
	return all
}

func (b *balancer) backend(t testing.TB, pool, name string) backendStatus {
	t.Helper()
	all := b.pool(t, pool).Backends
	i := slices.IndexFunc(all, func(b backendStatus) bool { return b.Name == name && b.State != "removed" })
	if i < 0 {
		t.Fatalf("no backend %q in pool %q: %+v", name, pool, all)
	}
	return all[i]
}

// awaitState waits until /status shows a backend in a state.
func (b *balancer) awaitState(t testing.TB, pool, name, state string) (s backendStatus) {
	t.Helper()
	await(t, fmt.Sprintf("backend %s of %s that is %s", name, pool, state), func() bool {
		s = b.backend(t, pool, name)
		return s.State == state
	})
	return s
}

// change is a log line about the change of a backend's state.
type change struct {
	at         time.Time
	state, was string
	reason     string
}

func parseChange(line, pool, backend string) (c change, ok bool) {
	var e struct {
		Time                              time.Time
		Pool, Backend, State, Was, Reason string
	}
	if !strings.Contains(line, `"state":`) || json.Unmarshal([]byte(line), &e) != nil || e.Pool != pool || e.Backend != backend {
		return c, false
	}
	return change{e.Time, e.State, e.Was, e.Reason}, true
}

// changes are all that the log tells of a backend so far.
func (b *balancer) changes(pool, backend string) (list []change) {
	all, _, _, _ := b.stderr.after(0)
	for _, line := range all {
		if c, ok := parseChange(line, pool, backend); ok {
			list = append(list, c)
		}
	}
	return list
}

// awaitChange waits for the log, from position on, to tell that a backend's
// state is another.
func (b *balancer) awaitChange(t testing.TB, pool, backend, state string, position int) (c change) {
	t.Helper()
	b.stderr.find(t, fmt.Sprintf("log line that backend %s of %s is %s", backend, pool, state), position, func(line string) (ok bool) {
		c, ok = parseChange(line, pool, backend)
		return ok && c.state == state
	})
	return c
}

// checkChanges compares the states that a backend has gone through by the log,
// one line for each, with those wanted. What is wanted of a backend is an axis
// of its own.
func (b *balancer) checkChanges(t testing.TB, pool, backend string, want ...string) {
	t.Helper()
	var got []string
	operational, admin := "up", "ready"
	for _, c := range b.changes(pool, backend) {
		was := &operational
		if slices.Contains([]string{"ready", "drain", "maint"}, c.state) {
			was = &admin
		}
		if c.was != *was || c.reason == "" {
			t.Errorf("backend %s of %s was %s by the log before: %+v", backend, pool, *was, c)
		}
		*was = c.state
		got = append(got, c.state)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log tells of backend %s of %s that it went %v, want %v", backend, pool, got, want)
	}
}

// checkState checks that /status, the metrics and `holdfast status` agree that
// a backend is in a state, for a reason that contains the text.
func (b *balancer) checkState(t testing.TB, pool, name, state, reason string) {
	t.Helper()
	if s := b.backend(t, pool, name); s.State != state || !strings.Contains(s.Reason, reason) {
		t.Errorf("/status has %+v, want %s since %q", s, state, reason)
	}
	m := b.metrics(t)
	for _, other := range []string{"up", "warming", "draining", "down", "ejected", "drain", "maint"} {
		want := 0.0
		if other == state {
			want = 1
		}
		series := fmt.Sprintf(`holdfast_backend_state{backend=%q,pool=%q,state=%q}`, name, pool, other)
		if got, ok := m[series]; !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", series, got, ok, want)
		}
	}
	shown := run(t, "status", "--admin", b.admin).stdout
	for line := range strings.Lines(shown) {
		if f := strings.Fields(line); len(f) > 3 && f[0] == pool && f[1] == name {
			if f[3] != state || !strings.Contains(line, reason) {
				t.Errorf("holdfast status shows %q, want %s since %q", line, state, reason)
			}
			return
		}
	}
	t.Errorf("holdfast status shows no backend %s of %s:\n%s", name, pool, shown)
}
