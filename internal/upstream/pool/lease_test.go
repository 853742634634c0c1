package pool

import (
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestCaps(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	specs := []Spec{{Name: "chat", MaxSessions: 3, Backends: []BackendSpec{
		{Address: "10.0.0.1:1", MaxSessions: 2}, {Address: "10.0.0.2:1"},
	}}, {Name: "other", Backends: []BackendSpec{{Address: "10.0.0.1:1"}}}}
	pools, _ := r.Apply(specs)
	a, b := pools["chat"].Members[0].Backend, pools["chat"].Members[1].Backend
	try := func(b *Backend, want bool) {
		t.Helper()
		if full := b.Full(); full == want {
			t.Errorf("full: %v", full)
		}
		before := b.Sessions()
		if got := b.TryAcquire(); got != want {
			t.Fatalf("acquired: %v, want %v", got, want)
		}
		if got := b.Sessions() - before; (got == 1) != want {
			t.Errorf("%d sessions more", got)
		}
	}
	try(a, true)
	try(a, true)
	try(a, false) // its own cap
	try(b, true)
	try(b, false) // the pool's
	a.Release()
	try(b, true)
	try(a, false) // the pool's
	for range 9 {
		try(pools["other"].Members[0].Backend, true) // no cap, and another pool
	}

	// A reload lowers the limits: nobody is thrown out, and nobody let in.
	specs[0].MaxSessions = 1
	r.Apply(specs)
	b.Release()
	try(b, false)
	a.Release()
	try(b, false)
	b.Release()
	try(b, true)
	// Another one lifts them.
	specs[0].MaxSessions, specs[0].Backends[0].MaxSessions = 0, 0
	r.Apply(specs)
	for range 9 {
		try(a, true)
	}
}

// A removed backend counts for its pool as long as it has sessions.
func TestPoolLimitCountsRemovedBackends(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	one, two := BackendSpec{Address: "10.0.0.1:1"}, BackendSpec{Address: "10.0.0.2:1"}
	pools, _ := r.Apply([]Spec{{Name: "chat", MaxSessions: 2, Backends: []BackendSpec{one, two}}})
	gone, stays := pools["chat"].Members[0].Backend, pools["chat"].Members[1].Backend
	gone.TryAcquire()
	stays.TryAcquire()
	r.Apply([]Spec{{Name: "chat", MaxSessions: 2, Backends: []BackendSpec{two}}})
	if stays.TryAcquire() {
		t.Error("a third session in a pool of two")
	}
	if gone.TryAcquire() || r.Backend(gone.ID) != gone {
		t.Error("a refused lease made the registry forget a backend that has another")
	}
	gone.Release()
	if !stays.TryAcquire() {
		t.Error("no room, although the session of the removed backend has ended")
	}
	if gone.TryAcquire() || r.Backend(gone.ID) != nil {
		t.Error("a refused lease made the registry remember")
	}
}

// In whatever order leases are taken and released, the counts are right.
func TestLeasesCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := New(Options{})
		defer r.Close()
		caps := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 4).Draw(t, "max_sessions")
		s := Spec{Name: "chat", MaxSessions: rapid.IntRange(0, 8).Draw(t, "the pool's")}
		for i, most := range caps {
			s.Backends = append(s.Backends, BackendSpec{Address: "10.0.0.1:" + string(rune('1'+i)), MaxSessions: most})
		}
		pools, _ := r.Apply([]Spec{s})
		held, all := make([]int, len(caps)), 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(caps)-1).Draw(t, "backend")
			b := pools["chat"].Members[i].Backend
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				if held[i] > 0 {
					b.Release()
					held[i], all = held[i]-1, all-1
				}
			} else {
				want := (caps[i] == 0 || held[i] < caps[i]) && (s.MaxSessions == 0 || all < s.MaxSessions)
				if full := b.Full(); full == want {
					t.Fatalf("full: %v, with %v of %v held, %d of %d in all", full, held, caps, all, s.MaxSessions)
				}
				if got := b.TryAcquire(); got != want {
					t.Fatalf("acquired: %v, with %v of %v held, %d of %d in all", got, held, caps, all, s.MaxSessions)
				}
				if want {
					held[i], all = held[i]+1, all+1
				}
			}
			if b.Sessions() != held[i] {
				t.Fatalf("%d sessions, want %d", b.Sessions(), held[i])
			}
		}
	})
}

// Under concurrency, while reloads remove backends and add them again, the limits
// are never exceeded, by a count of the holders' own.
func TestCapsUnderConcurrency(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	const perBackend, perPool = 5, 12
	s := Spec{Name: "chat", MaxSessions: perPool}
	for _, a := range []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"} {
		s.Backends = append(s.Backends, BackendSpec{Address: a, MaxSessions: perBackend})
	}
	pools, _ := r.Apply([]Spec{s})
	members := pools["chat"].Members
	var all atomic.Int64
	held := make([]atomic.Int64, len(members))
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			mine := []int{}
			for n := range 4000 {
				if i := (n*7 + g) % len(members); members[i].Backend.TryAcquire() {
					if now := held[i].Add(1); now > perBackend {
						t.Errorf("a backend has %d, its cap is %d", now, perBackend)
					}
					if now := all.Add(1); now > perPool {
						t.Errorf("the pool has %d, its cap is %d", now, perPool)
					}
					mine = append(mine, i)
				}
				if len(mine) > n%4 {
					held[mine[0]].Add(-1)
					all.Add(-1)
					members[mine[0]].Backend.Release()
					mine = mine[1:]
				}
			}
			for _, i := range mine {
				held[i].Add(-1)
				all.Add(-1)
				members[i].Backend.Release()
			}
		})
	}
	for n := range 100 {
		some := s
		some.Backends = s.Backends[:2+n%3] // two leave for good, then others come in their place
		r.Apply([]Spec{some})
	}
	wg.Wait()
	for i, m := range members {
		if n := m.Backend.Sessions(); n != 0 {
			t.Errorf("member %d has %d sessions at the end", i, n)
		}
	}
	room := 0
	for _, m := range members {
		for m.Backend.TryAcquire() {
			room++
		}
	}
	if room != perPool {
		t.Errorf("room for %d at the end, want %d", room, perPool)
	}
}

// The hardest case: one place, of the backend or of the pool, and many goroutines
// that try to take it.
func TestOnePlace(t *testing.T) {
	for _, s := range []Spec{
		{Name: "chat", Backends: []BackendSpec{{Address: "10.0.0.1:1", MaxSessions: 1}}},
		{Name: "chat", MaxSessions: 1, Backends: []BackendSpec{{Address: "10.0.0.1:1"}}},
	} {
		r := New(Options{})
		defer r.Close()
		pools, _ := r.Apply([]Spec{s})
		b := pools["chat"].Members[0].Backend
		var held, taken atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 30_000 {
					if !b.TryAcquire() {
						continue
					}
					taken.Add(1)
					if held.Add(1) > 1 {
						t.Error("two have the one place")
					}
					held.Add(-1)
					b.Release()
				}
			})
		}
		wg.Wait()
		if taken.Load() == 0 || !b.TryAcquire() {
			t.Errorf("taken %d times, and not at the end", taken.Load())
		}
	}
}
