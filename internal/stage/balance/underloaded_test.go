package balance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// The member taken has fewer sessions than its fair share, is available and not tried;
// without a key, no other such member is less loaded. ErrBalanced says that
// there is none.
func TestTakeBelowFairShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		w := newWorld(t, passive(weighted(weights...)))
		kind := rapid.SampledFrom(Algorithms()).Draw(t, "kind")
		p := mustNew(t, Options{Algorithm: kind}, w.members)
		total, weight := 0, 0
		for i, m := range w.members {
			occupy(m.Backend, rapid.IntRange(0, 30).Draw(t, "sessions"))
			switch rapid.IntRange(0, 5).Draw(t, "state") {
			case 0:
				eject(m.Backend)
			case 1:
				m.Backend.SetAdmin(pool.Drain, "")
			default:
				total, weight = total+m.Backend.Sessions(), weight+weights[i]
			}
		}
		q := without(rapid.SliceOfN(rapid.IntRange(0, len(weights)-1), 0, 2).Draw(t, "tried")...)
		q.Keyed, q.Key = rapid.Bool().Draw(t, "keyed"), rapid.Uint64().Draw(t, "key")
		before := sessionsOf(w.members)
		may := func(i int) bool {
			return w.members[i].Backend.Availability() == pool.Available && !q.Tried.Has(i) && before[i]*weight < total*weights[i]
		}
		c, err := p.TakeBelowFairShare(&q)
		if err != nil {
			if err != ErrBalanced {
				t.Fatal(err)
			}
			for i := range weights {
				if may(i) {
					t.Fatalf("%v, but member %d of %v is below its fair share", err, i, before)
				}
			}
			return
		}
		if !may(c.Index) || c.Backend.Sessions() != before[c.Index]+1 {
			t.Fatalf("took %+v of %v", c, before)
		}
		for i := range weights {
			if !q.Keyed && may(i) && (before[i]+1)*weights[c.Index] < (before[c.Index]+1)*weights[i] {
				t.Fatalf("took %d of %v, %d is less loaded", c.Index, before, i)
			}
		}
	})
}

// All sessions of a key go to the same member as long as it is below its fair
// share: the first such member in the key's order.
func TestTakeBelowFairShareByKey(t *testing.T) {
	m := members(t, equal(5)...)
	p := mustNew(t, Options{Algorithm: "hash"}, m)
	occupy(m[2].Backend, 100)
	for key := range uint64(50) {
		q := keyed(mix(key))
		q.Tried.Add(2)
		want := mustTake(t, p, q)
		want.Backend.Release()
		c, err := p.TakeBelowFairShare(&q)
		if err != nil || c.Index != want.Index {
			t.Fatalf("key %d: took %d, %v, a hash takes %d", key, c.Index, err, want.Index)
		}
		c.Backend.Release()
	}
}

// A full member isn't below its fair share, whatever that would be.
func TestTakeBelowFairShareRespectsBounds(t *testing.T) {
	w := newWorld(t, weighted(equal(3)...))
	w.spec.Backends[1].MaxSessions = 10
	w.apply()
	m := w.members
	p := mustNew(t, Options{}, m)
	occupy(m[0].Backend, 90)
	occupy(m[1].Backend, 10)
	occupy(m[2].Backend, 40) // more than a third, and less than half of what b1 leaves
	for i := range 25 {
		c, err := p.TakeBelowFairShare(&Query{})
		if err != nil || c.Index != 2 {
			t.Fatalf("choice %d: took %+v, %v", i, c, err)
		}
		m[0].Backend.Release() // it was moved
	}
	if c, err := p.TakeBelowFairShare(&Query{}); err != ErrBalanced {
		t.Errorf("took %+v of %v, %v", c, sessionsOf(m), err)
	}
}

// Steered sessions fill up the members below their fair shares, whatever the
// algorithm, and only as many as announced; plain HTTP requests don't count.
func TestSteerNext(t *testing.T) {
	come := Query{Session: true}
	each(t, Algorithms(), func(t *testing.T, kind string) {
		m := members(t, equal(4)...)
		p := mustNew(t, Options{Algorithm: kind}, m)
		for _, n := range []int{0, 1, 2} {
			occupy(m[n].Backend, 1000)
		}
		p.SteerNext(100)
		for range 20 {
			mustTake(t, p, Query{}).Backend.Release()
		}
		for range 100 {
			if c := mustTake(t, p, come); c.Index != 3 {
				t.Fatalf("took member %d", c.Index)
			}
		}
		// After that, choices are made as usual.
		count := make([]int, 4)
		for range 400 {
			count[mustTake(t, p, come).Index]++
		}
		if count[3] == 400 {
			t.Errorf("all of %v went to the member with the fewest", count)
		}
	})
	// Steering ends once all members are even.
	m := members(t, equal(2)...)
	p := mustNew(t, Options{Algorithm: "round_robin"}, m)
	p.SteerNext(10)
	mustTake(t, p, come)
	mustTake(t, p, come)
	mustTake(t, p, come)
	occupy(m[0].Backend, 20)
	before := sessionsOf(m)
	for range 6 {
		mustTake(t, p, come)
	}
	if got := sessionsOf(m); slices.Equal(got, []int{before[0], before[1] + 6}) {
		t.Errorf("%v became %v: what was expected once still is", before, got)
	}
}
