package pool

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func spec(backends ...BackendSpec) []Spec {
	return []Spec{{Name: "chat", Balance: "least_conn", Backends: backends}}
}

func TestApplyKeepsWhatStays(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	a := BackendSpec{Name: "a", Address: "10.0.0.1:1"}
	b := BackendSpec{Address: "10.0.0.2:1", Weight: 2}
	pools, left := r.Apply(spec(a, b))
	old := pools["chat"]
	if len(left) != 0 || old.Balance != "least_conn" || len(old.Members) != 2 {
		t.Fatalf("first Apply: %+v, %v left", old, left)
	}
	if old.Members[0].Weight != 1 || old.Members[1].Weight != 2 || old.Members[1].Backend.Name != b.Address {
		t.Errorf("defaults: %+v, %+v", old.Members[0], old.Members[1])
	}
	old.Members[0].Backend.TryAcquire()

	a.Weight, b.Address = 5, "10.0.0.3:1"
	pools, left = r.Apply(spec(b, a))
	now := pools["chat"]
	if now.Members[1].Backend != old.Members[0].Backend || now.Members[1].Backend.Sessions() != 1 {
		t.Error("a backend that stays lost its identity or its count")
	}
	if now.Members[1].Weight != 5 || old.Members[0].Weight != 1 {
		t.Errorf("weights: %d now, %d in the old pool, want 5 and 1", now.Members[1].Weight, old.Members[0].Weight)
	}
	if len(left) != 1 || left[0] != old.Members[1].Backend || !left[0].Removed() || (left[0].Availability() == Available) {
		t.Errorf("left: %+v, want the backend whose address changed, removed", left)
	}
	if r.Backend(left[0].ID) != nil {
		t.Error("a backend without sessions is still known after it left")
	}
	if got := len(r.Backends()); got != 2 {
		t.Errorf("%d backends known, want 2", got)
	}
}

func TestSameAddressInTwoPools(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	one := BackendSpec{Address: "10.0.0.1:1"}
	pools, _ := r.Apply([]Spec{{Name: "x", Backends: []BackendSpec{one}}, {Name: "y", Backends: []BackendSpec{one}}})
	if pools["x"].Members[0].Backend == pools["y"].Members[0].Backend {
		t.Error("pools share a backend; its counts would mix")
	}
}

func TestRemovedBackendIsKnownWhileItHasSessions(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	a := BackendSpec{Name: "a", Address: "10.0.0.1:1"}
	pools, _ := r.Apply(spec(a))
	b := pools["chat"].Members[0].Backend
	b.TryAcquire()
	b.TryAcquire()
	r.Apply(nil)
	b.Release()
	if r.Backend(b.ID) != b {
		t.Fatal("forgotten while a session is left")
	}

	b.Release()
	if r.Backend(b.ID) != nil {
		t.Error("still known without sessions")
	}
	b.TryAcquire() // by a handshake that began before the reload
	if r.Backend(b.ID) != b {
		t.Error("a late lease isn't known by its ID")
	}
	b.Release()
	if r.Backend(b.ID) != nil {
		t.Error("still known after the late lease")
	}
}

// A backend that discovery missed for a moment is the same one when it is back:
// it is listed once, has its sessions, and limits hold.
func TestBackendThatComesBackIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		r := New(Options{OnChange: func(b *Backend) { told = append(told, fmt.Sprintf("%s removed=%v", b.Name, b.Removed())) }})
		defer r.Close()
		a, other := BackendSpec{Name: "a", Address: "10.0.0.1:1", MaxSessions: 5}, BackendSpec{Name: "b", Address: "10.0.0.2:1"}
		apply := func(backends ...BackendSpec) *Backend {
			pools, _ := r.Apply([]Spec{{Name: "chat", MaxSessions: 7, Checked: true, MaxFails: 1, FailTimeout: time.Hour, Backends: backends}})
			for _, m := range pools["chat"].Members {
				if m.Backend.Name == "a" {
					return m.Backend
				}
			}
			return nil
		}
		b := apply(a, other)
		for range 5 {
			b.TryAcquire()
		}
		b.SetAdmin(Drain, "asked for")
		apply(other)
		time.Sleep(1200 * time.Millisecond)
		told = nil
		if again := apply(a, other); again != b || b.Removed() || b.Sessions() != 5 || b.TryAcquire() {
			t.Errorf("it came back as %+v", again.State())
		}
		if s := b.State(); s.Name != "drain" || s.Operational != Up {
			t.Errorf("it was drained, and came back as %+v", s)
		}
		if got := r.Backends(); len(got) != 2 || !slices.Equal(told, []string{"a removed=false"}) {
			t.Errorf("%d backends, and these changes: %q", len(got), told)
		}
		b.SetAdmin(Ready, "asked for")

		// Its whole pool is away for long: with sessions it is still the same.
		r.Apply(nil)
		time.Sleep(time.Hour)
		if apply(a, other) != b || b.State().Name != "up" || b.TryAcquire() {
			t.Errorf("after an hour with its sessions: %+v", b.State())
		}
		// Without sessions its checks must pass, as for every newcomer.
		for range 5 {
			b.Release()
		}
		b.ConnectFailed("refused")
		apply(other)
		if r.Backend(b.ID) != nil {
			t.Error("known without sessions")
		}
		time.Sleep(time.Minute)
		if apply(a, other) != b || r.Backend(b.ID) != b || b.Availability() == Available || b.Operational() != Warming || !b.ejected() {
			t.Errorf("after a minute without sessions: %+v", b.State())
		}
		apply(other)
		time.Sleep(time.Minute + 1)
		if again := apply(a, other); again == b || again.ejected() {
			t.Error("it is the same after longer than a minute without sessions")
		}
		apply(other)
		time.Sleep(2 * time.Minute)
		apply(other)
		if len(r.removed) != 0 {
			t.Errorf("%d that have left are remembered for ever", len(r.removed))
		}
	})
}

// The limit of a pool counts the sessions of all its backends, including those
// that come back one after another.
func TestPoolBoundWhenBackendsComeBack(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	apply := func(names ...string) (list []*Backend) {
		s := Spec{Name: "chat", MaxSessions: 3}
		for _, n := range names {
			s.Backends = append(s.Backends, BackendSpec{Name: n, Address: "10.0.0.1:1"})
		}
		pools, _ := r.Apply([]Spec{s})
		for _, m := range pools["chat"].Members {
			list = append(list, m.Backend)
		}
		return list
	}
	a := apply("a")[0]
	a.TryAcquire()
	a.TryAcquire()
	r.Apply(nil)
	b := apply("b")[0]
	a = apply("b", "a")[1]
	if !b.TryAcquire() || a.TryAcquire() || b.TryAcquire() {
		t.Errorf("sessions %d and %d, want 3 in all", a.Sessions(), b.Sessions())
	}
}

func TestIDsInUseAreNotGivenAgain(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	r.lastID = 1<<32 - 3
	specs := spec(BackendSpec{Address: "10.0.0.1:1"}, BackendSpec{Address: "10.0.0.2:1"}, BackendSpec{Address: "10.0.0.3:1"})
	r.Apply(specs)
	r.lastID = 1<<32 - 3
	r.Apply(append(specs, Spec{Name: "more", Backends: specs[0].Backends}))
	var ids []uint32
	for _, b := range r.Backends() {
		ids = append(ids, b.ID)
	}
	want := []uint32{1, 2, 3, 4, 1<<32 - 2, 1<<32 - 1}
	if !slices.Equal(ids, want) {
		t.Errorf("IDs %d, want %d", ids, want)
	}
}

func TestReleaseWithoutAcquirePanics(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	pools, _ := r.Apply(spec(BackendSpec{Address: "10.0.0.1:1"}))
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	pools["chat"].Members[0].Backend.Release()
}

// However reloads and sessions interleave, a backend is known exactly as long as
// it is configured or has sessions.
func TestLeasesThroughReloads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := New(Options{})
		defer r.Close()
		all := []BackendSpec{{Address: "10.0.0.1:1"}, {Address: "10.0.0.2:1"}, {Address: "10.0.0.3:1"}}
		seen := map[*Backend]int{} // leases
		pools, _ := r.Apply(spec(all...))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			for _, m := range pools["chat"].Members {
				seen[m.Backend] += 0
			}
			backends := slices.SortedFunc(maps.Keys(seen), func(a, b *Backend) int { return int(a.ID) - int(b.ID) })
			switch b := rapid.SampledFrom(backends).Draw(t, "backend"); rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				b.TryAcquire()
				seen[b]++
			case 1:
				if seen[b] > 0 {
					b.Release()
					seen[b]--
				}
			case 2:
				keep := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 3, func(s BackendSpec) string { return s.Address }).Draw(t, "keep")
				pools, _ = r.Apply(spec(keep...))
			}
			for b, leases := range seen {
				if b.Sessions() != leases {
					t.Fatalf("backend %d has %d sessions, want %d", b.ID, b.Sessions(), leases)
				}
				if known, want := r.Backend(b.ID) == b, leases > 0 || !b.Removed(); known != want {
					t.Fatalf("backend %d: known %v, want %v (%d leases, removed %v)", b.ID, known, want, leases, b.Removed())
				}
			}
		}
	})
}

func TestConcurrentLeasesAndReloads(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	one, two := BackendSpec{Address: "10.0.0.1:1"}, BackendSpec{Address: "10.0.0.2:1"}
	first, _ := r.Apply(spec(one, two))
	var current sync.Map
	current.Store("pool", first["chat"])
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				p, _ := current.Load("pool")
				b := p.(*Pool).Members[0].Backend
				b.TryAcquire()
				if r.Backend(b.ID) != b {
					t.Error("a backend with a lease isn't known by its ID")
				}
				b.Release()
			}
		})
	}
	for i := range 300 {
		pools, _ := r.Apply(spec([]BackendSpec{one, two}[i%2]))
		current.Store("pool", pools["chat"])
	}
	wg.Wait()
	r.Apply(nil)
	if left := r.Backends(); len(left) != 0 {
		t.Errorf("%d backends known at the end, want none", len(left))
	}
}

func TestAddrRotates(t *testing.T) {
	var b Backend
	x, y := at("10.0.0.1:1"), at("10.0.0.2:1")
	b.addresses.Store(newAddressSet([]hostport.Endpoint{x, y}))
	count := map[hostport.Endpoint]int{}
	for range 10 {
		a, ok := b.Addr()
		if !ok {
			t.Fatal("no address")
		}
		count[a]++
	}
	if count[x] != 5 || count[y] != 5 {
		t.Errorf("rotation gave %v, want 5 each", count)
	}
}

func BenchmarkAddr(b *testing.B) {
	var backend Backend
	backend.addresses.Store(newAddressSet([]hostport.Endpoint{at("10.0.0.1:1"), at("10.0.0.2:1")}))
	b.ReportAllocs()
	for b.Loop() {
		backend.Addr()
	}
}
