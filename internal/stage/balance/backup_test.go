package balance

import (
	"slices"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"pgregory.net/rapid"
)

// withBackups is a pool of equal backends, of which the given ones are backups.
func withBackups(n int, backups ...int) pool.Spec {
	spec := passive(weighted(equal(n)...))
	for _, i := range backups {
		spec.Backends[i].Backup = true
	}
	return spec
}

// A backup gets a session only if no primary can, and then it does. Everything else is
// the better of what is left.
func TestBackupsStandIn(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) { rapid.Check(t, func(t *rapid.T) { checkBackups(t, kind) }) })
}

func checkBackups(t *rapid.T, kind string) {
	spec := withBackups(rapid.IntRange(1, 6).Draw(t, "members"))
	for i := range spec.Backends {
		spec.Backends[i].Backup = rapid.Bool().Draw(t, "backup")
		spec.Backends[i].MaxSessions = 1
		spec.Backends[i].Weight = rapid.IntRange(1, 3).Draw(t, "weight")
	}
	m := newWorld(t, spec).members
	minHealthy := rapid.IntRange(0, 3).Draw(t, "min_healthy")
	p := mustNew(t, Options{Algorithm: kind, MinHealthy: minHealthy, Bound: 1.25}, m)
	q := Query{Key: rapid.Uint64().Draw(t, "key"), Keyed: rapid.Bool().Draw(t, "keyed")}
	availability := make([]pool.Availability, len(m))
	isBackup := make([]bool, len(m))
	available := 0
	for i := range m {
		isBackup[i] = m[i].Backup && pool.Primaries(m) < len(m)
		switch rapid.SampledFrom([]string{"up", "up", "ejected", "down", "drain"}).Draw(t, "state") {
		case "ejected":
			eject(m[i].Backend)
			availability[i] = pool.Ejected
		case "down":
			m[i].Backend.SetOperational(pool.Down, "")
			availability[i] = pool.Unhealthy
		case "drain":
			m[i].Backend.SetAdmin(pool.Drain, "")
			availability[i] = pool.Unavailable
		default:
			if !isBackup[i] {
				available++
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "tried") == 0 {
			q.Tried.Add(i)
		}
		if rapid.IntRange(0, 3).Draw(t, "full") == 0 {
			occupy(m[i].Backend, 1)
		}
	}
	ignoresHealth := available < minHealthy
	// able are the members of a tier that can take the session, if their health may be
	// as bad as worst.
	able := func(backup bool, worst pool.Availability) (list []int) {
		for i := range m {
			if isBackup[i] == backup && availability[i] <= worst && !q.Tried.Has(i) && !m[i].Backend.Full() {
				list = append(list, i)
			}
		}
		return list
	}
	for range len(m) + 1 {
		primaries, spare := able(false, pool.Available), able(true, pool.Available)
		if ignoresHealth && available > 0 {
			primaries = able(false, pool.Unhealthy)
		}
		c, err := p.Take(&q)
		switch {
		case len(primaries) > 0:
			if err != nil || !slices.Contains(primaries, c.Index) {
				t.Fatalf("took %+v, %v; the primaries %v can take it", c, err, primaries)
			}
		case len(spare) > 0:
			if err != nil || !slices.Contains(spare, c.Index) {
				t.Fatalf("took %+v, %v; the backups %v can take it", c, err, spare)
			}
		case err == nil:
			if availability[c.Index] == pool.Unavailable || q.Tried.Has(c.Index) || m[c.Index].Backend.Sessions() > 1 {
				t.Fatalf("took %+v, which must not be taken", c)
			}
			if availability[c.Index] == pool.Unhealthy && !ignoresHealth {
				t.Fatalf("took %+v, which is down", c)
			}
			if better := able(false, pool.Ejected); isBackup[c.Index] && len(better) > 0 {
				t.Fatalf("took %+v, though the primaries %v are only ejected", c, better)
			}
		}
		if err != nil {
			break
		}
	}
	for key := range uint64(20) {
		if i := p.Owner(key); isBackup[i] {
			t.Fatalf("the backup %d owns a key", i)
		}
	}
	if c, err := p.TakeBelowFairShare(&Query{Key: q.Key, Keyed: q.Keyed}); err == nil && isBackup[c.Index] {
		t.Fatalf("the backup %d has a fair share", c.Index)
	}
}

// A primary that gets handshakes at a limited rate can take the session in a moment: it
// waits, and doesn't go to a backup.
func TestBackupsDontTakeWhatWaits(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		m := newWorld(t, withBackups(3, 1)).members
		p := mustNew(t, Options{Algorithm: kind}, m)
		r := &tokens{left: []int{1, 5, 1}}
		for range 2 {
			if c := mustTake(t, p, Query{RateLimits: r}); c.Index == 1 {
				t.Error("took the backup")
			}
		}
		if c, err := p.Take(&Query{RateLimits: r}); err != ErrRateLimited {
			t.Errorf("took %+v, %v", c, err)
		}
		m[0].Backend.SetAdmin(pool.Drain, "")
		m[2].Backend.SetAdmin(pool.Drain, "")
		for range 5 {
			if c := mustTake(t, p, Query{RateLimits: r}); c.Index != 1 {
				t.Errorf("took %+v, want the backup", c)
			}
		}
		if c, err := p.Take(&Query{RateLimits: r}); err != ErrRateLimited {
			t.Errorf("took %+v, %v", c, err)
		}
	})
}

// A client that belongs to a backup comes back to it while it is available, whether
// primaries are or not.
func TestTakeMemberTakesBackups(t *testing.T) {
	m := newWorld(t, withBackups(3, 2)).members
	p := mustNew(t, Options{MinHealthy: 1}, m)
	for _, c := range []struct {
		name       string
		do         func()
		up, backup bool // whether the first primary, and the backup, are taken
	}{
		{"all are up", func() {}, true, true},
		{"a primary is ejected", func() { eject(m[0].Backend) }, false, true},
		{"no primary is available", func() { m[1].Backend.SetOperational(pool.Down, "") }, false, true},
		{"nor is the backup: health is ignored", func() { m[2].Backend.SetOperational(pool.Down, "") }, true, true},
		{"a primary is back", func() { m[1].Backend.SetOperational(pool.Up, "") }, false, false},
	} {
		c.do()
		for i, want := range map[int]bool{0: c.up, 2: c.backup} {
			if _, ok := p.TakeMember(i); ok != want {
				t.Errorf("%s: member %d taken %v", c.name, i, ok)
			}
		}
	}
}

// A pool with only backups uses them like others.
func TestOnlyBackups(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		m := newWorld(t, withBackups(2, 0, 1)).members
		p := mustNew(t, Options{Algorithm: kind, MinHealthy: 2}, m)
		mustTake(t, p, Query{})
		if p.Owner(1) < 0 {
			t.Error("no owner")
		}
		if c, err := p.TakeBelowFairShare(&Query{}); err != nil && kind != "first" {
			t.Errorf("below its fair share: %+v, %v", c, err)
		}
	})
}

// When primaries fill up while several loops take them, the last sessions go to the
// backup, and none is refused while there is room.
func TestConcurrentTakesReachBackups(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		spec := withBackups(3, 2)
		for i := range spec.Backends {
			spec.Backends[i].MaxSessions = 200
		}
		m := newWorld(t, spec).members
		// Two pickers, as of two generations: neither has the other's lock.
		pickers := []Picker{mustNew(t, Options{Algorithm: kind}, m), mustNew(t, Options{Algorithm: kind}, m)}
		var wg sync.WaitGroup
		for loop := range 4 {
			wg.Go(func() {
				for n := range 150 {
					q := keyed(uint64(n))
					if _, err := pickers[loop%2].Take(&q); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := sessionsOf(m); !slices.Equal(n, []int{200, 200, 200}) {
			t.Errorf("sessions %v", n)
		}
	})
}
