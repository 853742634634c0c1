package balance

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"pgregory.net/rapid"
)

// homes are the names of the members that own the first n keys.
func homes(p Picker, n int) []string {
	names := make([]string, n)
	for key := range names {
		names[key] = p.Members()[p.Owner(uint64(key))].Backend.Name
	}
	return names
}

func unbound(t tester, m []pool.Member) Picker { return mustNew(t, Options{Algorithm: "hash"}, m) }

func TestHashFollowsWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		p := unbound(t, members(t, weights...))
		first := rapid.Uint64().Draw(t, "key")
		count := make([]int, len(weights))
		for key := range uint64(1000) {
			i := p.Owner(first + key)
			count[i]++
			c := mustTake(t, p, keyed(first+key))
			if c.Index != i {
				t.Fatalf("took %d for a key of %d", c.Index, i)
			}
		}
		inProportion(t, count, weights)
	})
}

// Similar keys are spread as evenly as random ones.
func TestHashOfSimilarKeys(t *testing.T) {
	p := unbound(t, members(t, equal(10)...))
	for name, key := range map[string]func(i uint64) uint64{
		"high bits": func(i uint64) uint64 { return i << 50 },
		"multiples": func(i uint64) uint64 { return i * 4096 },
		"inverted":  func(i uint64) uint64 { return ^i },
	} {
		count := make([]int, 10)
		for i := range uint64(10000) {
			count[p.Owner(key(i))]++
		}
		t.Run(name, func(t *testing.T) { inProportion(t, count, equal(10)) })
	}
}

// The keys of a member that leaves go elsewhere, and no other key moves. The
// same holds if it stays in the pool but isn't available, so that all balancers agree.
func TestHashWithoutOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 9), 2, 12).Draw(t, "weights")
		w := newWorld(t, weighted(weights...))
		p := unbound(t, w.members)
		before := homes(p, 1000)
		gone := rapid.IntRange(0, len(weights)-1).Draw(t, "gone")
		lost := w.members[gone].Backend

		lost.SetAdmin(pool.Drain, "it is to leave")
		if !slices.Equal(homes(p, len(before)), before) {
			t.Fatal("Home depends on a member's state")
		}
		instead := make([]string, len(before))
		for key := range instead {
			c := mustTake(t, p, keyed(uint64(key)))
			instead[key] = c.Backend.Name
			c.Backend.Release()
		}

		w.spec.Backends = slices.Delete(w.spec.Backends, gone, gone+1)
		w.apply()
		after := homes(unbound(t, w.members), len(before))
		for key := range before {
			if moved := before[key] != after[key]; moved != (before[key] == lost.Name) {
				t.Fatalf("key %d went from %s to %s when %s left", key, before[key], after[key], lost.Name)
			}
		}
		if !slices.Equal(instead, after) {
			t.Fatal("a member that is unavailable and one that left differ for the others")
		}
	})
}

// A member that joins takes its share of the keys from all others; no key moves
// between them.
func TestHashWithOneMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		w := newWorld(t, weighted(weights...))
		before := homes(unbound(t, w.members), 3000)
		weights = append(weights, rapid.IntRange(1, 9).Draw(t, "weight"))
		added := backend(len(weights)-1, weights[len(weights)-1])
		at := rapid.IntRange(0, len(weights)-1).Draw(t, "at")
		w.spec.Backends = slices.Insert(w.spec.Backends, at, added)
		w.apply()
		after := homes(unbound(t, w.members), len(before))
		moved := 0
		for key := range before {
			if before[key] != after[key] {
				moved++
				if after[key] != added.Name {
					t.Fatalf("key %d went from %s to %s when %s joined", key, before[key], after[key], added.Name)
				}
			}
		}
		others := sum(weights) - added.Weight
		inProportion(t, []int{moved, len(before) - moved}, []int{added.Weight, others})
	})
}

// A change of weight moves keys only to the member that got heavier, or from
// the one that got lighter.
func TestHashWithAnotherWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 9), 2, 12).Draw(t, "weights")
		w := newWorld(t, weighted(weights...))
		before := homes(unbound(t, w.members), 1000)
		changed := &w.spec.Backends[rapid.IntRange(0, len(weights)-1).Draw(t, "changed")]
		was := changed.Weight
		changed.Weight = rapid.IntRange(1, 9).Draw(t, "weight")
		w.apply()
		for key, now := range homes(unbound(t, w.members), len(before)) {
			if now == before[key] {
				continue
			}
			if heavier := changed.Weight > was; heavier != (now == changed.Name) || heavier == (before[key] == changed.Name) {
				t.Fatalf("key %d went from %s to %s when %s went from %d to %d", key, before[key], now, changed.Name, was, changed.Weight)
			}
		}
	})
}

// Neither slow start nor reported load moves a key.
func TestHashIgnoresShares(t *testing.T) {
	m := members(t, 1, 2, 3)
	p := unbound(t, m)
	before := homes(p, 1000)
	m[1].Backend.SetLoad(0.1)
	m[2].Backend.SetLoad(0)
	for key, name := range before {
		if c := mustTake(t, p, keyed(uint64(key))); c.Backend.Name != name {
			t.Fatalf("key %d of %s went to %s", key, name, c.Backend.Name)
		}
	}
}

// Balancers with the same backends in another order and with other IDs make the
// same choices, also if some are tried.
func TestHashOnTwoBalancers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := weighted(someWeights.Draw(t, "weights")...)
		one := newWorld(t, spec)
		spec.Backends = rapid.Permutation(spec.Backends).Draw(t, "order")
		two := newWorld(t, spec)
		p, q := unbound(t, one.members), unbound(t, two.members)
		if !slices.Equal(homes(p, 500), homes(q, 500)) {
			t.Fatal("two balancers have different homes")
		}
		down := rapid.IntRange(0, len(spec.Backends)-1).Draw(t, "down")
		name := one.members[down].Backend.Name
		other := slices.IndexFunc(two.members, func(m pool.Member) bool { return m.Backend.Name == name })
		for key := range uint64(500) {
			a, b := without(down), without(other)
			a.Key, a.Keyed, b.Key, b.Keyed = key, true, key, true
			x, errX := p.Take(&a)
			y, errY := q.Take(&b)
			if errX != errY || errX == nil && x.Backend.Name != y.Backend.Name {
				t.Fatalf("without %s, key %d: %v, %v; %v, %v", name, key, x, errX, y, errY)
			}
		}
	})
}

// A change of the function would send most clients elsewhere while balancers
// are upgraded one after the other.
func TestHashIsTheSameInEveryVersion(t *testing.T) {
	var got string
	for _, weights := range [][]int{{1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8}} {
		p := unbound(t, members(t, weights...))
		for key := range uint64(24) {
			got += fmt.Sprint(p.Owner(key * 0x9e3779b97f4a7c15))
		}
		got += " "
	}
	if want := "374231675210307236404733 374757675212357776404733 "; got != want {
		t.Errorf("homes %q, want %q", got, want)
	}
}

// bounds returns how many sessions each member may have at most after a choice
// that finds the given numbers.
func bounds(bound float64, m []pool.Member, sessions int) []int {
	weights, total := make([]int, len(m)), 0
	for i := range m {
		weights[i] = m[i].Weight * int(m[i].Backend.Share())
		total += weights[i]
	}
	thousandths := int(math.Round(bound * 1000))
	for i, w := range weights {
		weights[i] = (thousandths*(sessions+1)*w + 1000*total - 1) / (1000 * total)
	}
	return weights
}

// Whatever joins and leaves, no choice takes a member past its bound, and each
// takes the first in the key's order that has room.
func TestHashBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		m := members(t, weights...)
		for i := range m {
			if rapid.IntRange(0, 3).Draw(t, "loaded") == 0 {
				m[i].Backend.SetLoad(rapid.Float64Range(0, 1).Draw(t, "load"))
			}
		}
		bound := rapid.SampledFrom([]float64{1, 1.05, 1.25, 2, 10}).Draw(t, "bound")
		p := mustNew(t, Options{Algorithm: "hash", Bound: bound}, m)
		free := unbound(t, m)
		keys := rapid.SampledFrom([]uint64{1, 3, 1000}).Draw(t, "keys")
		var held []*pool.Backend
		for step := range rapid.IntRange(1, 300).Draw(t, "steps") {
			if len(held) > 0 && rapid.IntRange(0, 4).Draw(t, "ends") == 0 {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "ended")
				held[i].Release()
				held = append(held[:i], held[i+1:]...)
				continue
			}
			q := keyed(uint64(step) % keys)
			before := sessionsOf(m)
			most := bounds(bound, m, sum(before))
			c := mustTake(t, p, q)
			held = append(held, c.Backend)
			if c.Backend.Sessions() > most[c.Index] {
				t.Fatalf("took %d of %v, bounds %v", c.Index, before, most)
			}
			for i := range m {
				if before[i] >= most[i] {
					q.Tried.Add(i)
				}
			}
			want := mustTake(t, free, q)
			want.Backend.Release()
			if want.Index != c.Index {
				t.Fatalf("took %d of %v, bounds %v; %d comes first", c.Index, before, most, want.Index)
			}
		}
	})
}

// All clients behind one address.
func TestHashOfOneNAT(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1}, {1, 2, 3}, equal(10), equal(2)} {
		m := members(t, weights...)
		p := mustNew(t, Options{Algorithm: "hash", Bound: 1.25}, m)
		const clients = 5000
		for n := range clients {
			most := bounds(1.25, m, n)
			c := mustTake(t, p, keyed(42))
			if c.Backend.Sessions() > most[c.Index] {
				t.Fatalf("after %d: %v, bounds %v", n+1, sessionsOf(m), most)
			}
		}
		if home := p.Owner(42); m[home].Backend.Sessions() < bounds(1.25, m, clients-1)[home]-1 {
			t.Errorf("%v: its own backend has less than it may", sessionsOf(m))
		}
	}
}

// During its slow start, a backend gets its own keys no faster than its share of
// the bound grows.
func TestHashBoundFollowsShares(t *testing.T) {
	m := members(t, 1, 1)
	p := mustNew(t, Options{Algorithm: "hash", Bound: 1.25}, m)
	m[0].Backend.SetLoad(0.25)
	for key := range uint64(1000) {
		mustTake(t, p, keyed(key))
	}
	if n := m[0].Backend.Sessions(); n < 249 || n > 250 {
		t.Errorf("%d of 1000 sessions, want its bound, 1.25 of a fifth", n)
	}
}

func TestHashWithoutKeyIsLeastConn(t *testing.T) {
	m := members(t, 1, 2, 3)
	p := mustNew(t, Options{Algorithm: "hash", Bound: 1.25}, m)
	for range 600 {
		mustTake(t, p, Query{Key: 42})
	}
	if got, want := sessionsOf(m), []int{100, 200, 300}; !slices.Equal(got, want) {
		t.Errorf("sessions %v, want %v", got, want)
	}
}

// The figures of docs/balancing.md: go test -run Figures -v
func TestHashFigures(t *testing.T) {
	const keys = 100_000
	for _, n := range []int{3, 10, 100} {
		one, more := unbound(t, members(t, equal(n)...)), unbound(t, members(t, equal(n+1)...))
		less := unbound(t, members(t, equal(n-1)...))
		count := make([]int, n)
		added, removed := 0, 0
		for key := range uint64(keys) {
			h := one.Owner(key)
			count[h]++
			if more.Owner(key) != h {
				added++
			}
			if less.Owner(key) != h {
				removed++
			}
		}
		evenness := float64(slices.Max(count)) * float64(n) / keys
		t.Logf("N=%d: %.2f %% of the keys move when one is added, %.2f %% when one is removed; max/mean %.3f",
			n, 100*float64(added)/keys, 100*float64(removed)/keys, evenness)
		inProportion(t, []int{added, keys - added}, []int{1, n})
		if removed != count[n-1] {
			t.Errorf("N=%d: %d moved, the one removed had %d", n, removed, count[n-1])
		}
		if evenness > 1+6*math.Sqrt(float64(n)/keys) {
			t.Errorf("N=%d: max/mean %.3f", n, evenness)
		}
	}
}
