//go:build unix

package kit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// PoolStatus is what GET /status says about a pool.
type PoolStatus struct {
	Name      string
	Sessions  int
	Queued    int
	Discovery []struct{ Source, Trouble string }
	Backends  []BackendStatus
}

// BackendStatus is what GET /status says about a backend.
type BackendStatus struct {
	Name, Address, State, Operational, Admin, Reason string
	Weight, Sessions                                 int
	Share                                            float64
	Backup                                           bool
}

// Pool asks for the status of a pool.
func (b *Balancer) Pool(t testing.TB, name string) PoolStatus {
	t.Helper()
	_, body := b.Get(t, "/v1/status")
	var status struct{ Pools []PoolStatus }
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	i := slices.IndexFunc(status.Pools, func(p PoolStatus) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no pool %q in %s", name, body)
	}
	return status.Pools[i]
}

// Names returns the configured backends of the pool, sorted.
func (p PoolStatus) Names() (all []string) {
	for _, b := range p.Backends {
		if b.State != "removed" {
			all = append(all, b.Name)
		}
	}
	slices.Sort(all)
	return all
}

// Backend asks for the status of a configured backend.
func (b *Balancer) Backend(t testing.TB, pool, name string) BackendStatus {
	t.Helper()
	all := b.Pool(t, pool).Backends
	i := slices.IndexFunc(all, func(b BackendStatus) bool { return b.Name == name && b.State != "removed" })
	if i < 0 {
		t.Fatalf("no backend %q in pool %q: %+v", name, pool, all)
	}
	return all[i]
}

// AwaitState waits until /status shows a backend in a state.
func (b *Balancer) AwaitState(t testing.TB, pool, name, state string) (s BackendStatus) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("backend %s of %s that is %s", name, pool, state), func() bool {
		s = b.Backend(t, pool, name)
		return s.State == state
	})
	return s
}

// Change is a log line about a change of a backend's state.
type Change struct {
	At         time.Time
	State, Was string
	Reason     string
}

func parseChange(line, pool, backend string) (c Change, ok bool) {
	var e struct {
		Time                              time.Time
		Pool, Backend, State, Was, Reason string
	}
	if !strings.Contains(line, `"state":`) || json.Unmarshal([]byte(line), &e) != nil || e.Pool != pool || e.Backend != backend {
		return c, false
	}
	return Change{e.Time, e.State, e.Was, e.Reason}, true
}

// Changes returns the changes of a backend's state in the log so far.
func (b *Balancer) Changes(pool, backend string) (list []Change) {
	for _, line := range b.Stderr.Lines(0) {
		if c, ok := parseChange(line, pool, backend); ok {
			list = append(list, c)
		}
	}
	return list
}

// AwaitChange waits for the log line, from position on, that a backend changed to
// a state.
func (b *Balancer) AwaitChange(t testing.TB, pool, backend, state string, position int) (c Change) {
	t.Helper()
	b.Stderr.Find(t, fmt.Sprintf("log line that backend %s of %s is %s", backend, pool, state), position, func(line string) (ok bool) {
		c, ok = parseChange(line, pool, backend)
		return ok && c.State == state
	})
	return c
}

// CheckChanges compares the states that a backend went through, according to the
// log, with those wanted. The administrative states (ready, drain, maint) and the
// operational ones each follow their own kind.
func (b *Balancer) CheckChanges(t testing.TB, pool, backend string, want ...string) {
	t.Helper()
	var got []string
	operational, admin := "up", "ready"
	for _, c := range b.Changes(pool, backend) {
		was := &operational
		if slices.Contains([]string{"ready", "drain", "maint"}, c.State) {
			was = &admin
		}
		if c.Was != *was || c.Reason == "" {
			t.Errorf("backend %s of %s was %s by the log before: %+v", backend, pool, *was, c)
		}
		*was = c.State
		got = append(got, c.State)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log tells of backend %s of %s that it went %v, want %v", backend, pool, got, want)
	}
}

// CheckState checks that /status, the metrics and `holdfast status` agree that
// a backend is in a state, for a reason that contains the text.
func (b *Balancer) CheckState(t testing.TB, pool, name, state, reason string) {
	t.Helper()
	if s := b.Backend(t, pool, name); s.State != state || !strings.Contains(s.Reason, reason) {
		t.Errorf("/status has %+v, want %s since %q", s, state, reason)
	}
	m := b.Metrics(t)
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
	shown := Run(t, "status", "--admin", b.Admin).Stdout
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
