package pool

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
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
	if len(left) != 1 || left[0] != old.Members[1].Backend || !left[0].Removed() || (left[0].Fitness() == Fit) {
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

func TestLeftBackendIsKnownWhileItHasSessions(t *testing.T) {
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

	pools, _ = r.Apply(spec(a))
	again := pools["chat"].Members[0].Backend
	if again == b || again.ID == b.ID || again.Removed() || !b.Removed() {
		t.Errorf("came back as %+v, want a backend of its own beside %+v", again, b)
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

// However reloads and sessions interleave, a backend is known exactly as long
// as it is configured or has sessions.
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
	x, y := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1")
	b.answer.Store(newAnswer([]netip.AddrPort{x, y}))
	count := map[netip.AddrPort]int{}
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
	backend.answer.Store(newAnswer([]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1")}))
	b.ReportAllocs()
	for b.Loop() {
		backend.Addr()
	}
}
