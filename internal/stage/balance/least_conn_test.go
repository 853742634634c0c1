package balance

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"pgregory.net/rapid"
)

// sessionsOf returns the members' current sessions.
func sessionsOf(m []pool.Member) []int {
	n := make([]int, len(m))
	for i := range m {
		n[i] = m[i].Backend.Sessions()
	}
	return n
}

// After the choice no other member would have been less loaded by it, other
// than one that is held back. A member that lacks at most burst isn't.
func TestLeastConnTakesTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		m := members(t, weights...)
		p := mustNew(t, Options{}, m)
		var held []*pool.Backend
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			if len(held) > 0 && rapid.IntRange(0, 9).Draw(t, "ends") < 3 {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "ended")
				held[i].Release()
				held = append(held[:i], held[i+1:]...)
				continue
			}
			tried := rapid.SliceOfN(rapid.IntRange(0, len(m)-1), 0, 3).Draw(t, "tried")
			q := without(tried...)
			before := sessionsOf(m)
			weight, sessions := 0, 0
			for i := range m {
				if !q.Tried.Has(i) {
					weight, sessions = weight+weights[i], sessions+before[i]
				}
			}
			c, err := p.Take(&q)
			if (err == nil) != (weight > 0) {
				t.Fatalf("error %v, with candidates that weigh %d", err, weight)
			}
			if err != nil {
				continue
			}
			held = append(held, c.Backend)
			if q.Tried.Has(c.Index) || c.Backend != m[c.Index].Backend {
				t.Fatalf("took %+v", c)
			}
			if c.Backend.Sessions() != before[c.Index]+1 {
				t.Fatal("taken without its lease")
			}
			for i := range m {
				short := (before[i]+burst)*weight < sessions*weights[i]
				if q.Tried.Has(i) || short {
					continue
				}
				if (before[i]+1)*weights[c.Index] < (before[c.Index]+1)*weights[i] {
					t.Fatalf("took %d of sessions %v, weights %v; %d is less loaded", c.Index, before, weights, i)
				}
			}
		}
	})
}

// As long as one session comes for each that goes, the limit on newcomers has
// no effect: the choice is the plain least from the first on.
func TestLeastConnInEquilibriumIsThePlainLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		m := members(t, weights...)
		p := mustNew(t, Options{}, m)
		var held []*pool.Backend
		arrive := func() {
			before := sessionsOf(m)
			c := mustTake(t, p, Query{})
			held = append(held, c.Backend)
			for i := range m {
				if (before[i]+1)*weights[c.Index] < (before[c.Index]+1)*weights[i] {
					t.Fatalf("took %d of sessions %v, weights %v; %d is less loaded", c.Index, before, weights, i)
				}
			}
		}
		for range rapid.IntRange(1, 300).Draw(t, "sessions") {
			arrive()
		}
		if rapid.Bool().Draw(t, "reload") {
			p = mustNew(t, Options{}, m)
		}
		// Runs of departures from the same place are the hardest.
		for range rapid.IntRange(1, 10).Draw(t, "runs") {
			at := rapid.IntRange(0, len(held)-1).Draw(t, "from")
			for range rapid.IntRange(1, 60).Draw(t, "run") {
				held[at].Release()
				held = append(held[:at], held[at+1:]...)
				arrive()
				at = min(at, len(held)-1)
			}
		}
	})
}

// While sessions only come, each member has its share by weight, at most one
// session less, and at most N times its share of one more.
func TestLeastConnFairness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		m := members(t, weights...)
		p := mustNew(t, Options{}, m)
		for n := range rapid.IntRange(1, 1000).Draw(t, "sessions") {
			mustTake(t, p, Query{})
			for i, got := range sessionsOf(m) {
				f := float64(weights[i]) / float64(sum(weights))
				over := float64(got) - f*float64(n+1)
				if over < -1.000001 || over > f*float64(len(m))+0.000001 {
					t.Fatalf("after %d: %v for the weights %v", n+1, sessionsOf(m), weights)
				}
			}
		}
	})
}

func TestLeastConnTiesGoRound(t *testing.T) {
	p := mustNew(t, Options{}, members(t, 1, 1, 1, 1))
	count := make([]int, 4)
	for range 40 {
		c := mustTake(t, p, Query{})
		count[c.Index]++
		c.Backend.Release() // each session ends before the next: always a tie
	}
	for _, n := range count {
		if n != 10 {
			t.Fatalf("taken %v, want 10 each", count)
		}
	}
}

// limit is the part of the choices that a member that lacks sessions may have.
func limit(weights []int, i int) float64 {
	f := float64(weights[i]) / float64(sum(weights))
	return min(2*f, (1+f)/2)
}

// A newcomer gets more than its part until it has caught up, but never
// everything: in no window more than its limit and a burst.
func TestLeastConnNewcomer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 9), 1, 8).Draw(t, "weights")
		w := newWorld(t, weighted(weights...))
		old := 0
		for i, weight := range weights {
			occupy(w.members[i].Backend, 50*weight)
			old += 50 * weight
		}
		weights = append(weights, rapid.IntRange(1, 9).Draw(t, "newcomer"))
		w.spec = weighted(weights...)
		w.spec.Name = "chat"
		w.apply()
		p := mustNew(t, Options{}, w.members)
		i := len(weights) - 1
		f, most := float64(weights[i])/float64(sum(weights)), limit(weights, i)
		for n := 1; ; n++ {
			mustTake(t, p, Query{})
			got := float64(w.members[i].Backend.Sessions())
			part := f * float64(old+n)
			if got > most*float64(n)+burst {
				t.Fatalf("%v of the first %d, want at most %.2f of them and %d", got, n, most, burst)
			}
			if got >= part-1 {
				break
			}
			if got < most*float64(n)-2 && got < part-burst-1 {
				t.Fatalf("only %v of the first %d, want nearly %.2f of them", got, n, most)
			}
			if float64(n) > f*float64(old)/(most-f)+2 {
				t.Fatalf("%v sessions after %d choices, want its part, %v", got, n, part)
			}
		}
	})
}

// A backend that accepts connections and drops them is always the least loaded.
// It doesn't get everything.
func TestLeastConnBlackHole(t *testing.T) {
	weights := []int{1, 1, 1, 1, 1}
	m := members(t, weights...)
	for i := range 4 {
		occupy(m[i].Backend, 1000)
	}
	p := mustNew(t, Options{}, m)
	const n = 1000
	swallowed := 0
	for range n {
		if c := mustTake(t, p, Query{}); c.Index == 4 {
			swallowed++
			c.Backend.Release()
		}
	}
	if most := int(limit(weights, 4)*n) + burst; swallowed > most || swallowed < n/5 {
		t.Errorf("it got %d of %d, want %d to %d", swallowed, n, n/5, most)
	}
}

// A backend in the middle of its slow start has half of its weight.
func TestLeastConnSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := weighted(1, 1)
		spec.SlowStart = 30 * time.Second
		w := newWorld(t, spec)
		w.spec.Backends = append(w.spec.Backends, backend(2, 2))
		w.apply()
		p := mustNew(t, Options{}, w.members)
		for range 200 {
			mustTake(t, p, Query{})
		}
		if n := w.members[2].Backend.Sessions(); n > 1 {
			t.Errorf("%d sessions at once, want hardly any", n)
		}
		time.Sleep(15 * time.Second)
		for range 400 {
			mustTake(t, p, Query{})
		}
		if n := w.members[2].Backend.Sessions(); n < 199 || n > 200 {
			t.Errorf("%d of 600 sessions half-way, want 200: it counts as weight 1", n)
		}
		time.Sleep(15 * time.Second)
		for range 2000 {
			mustTake(t, p, Query{})
		}
		if n := w.members[2].Backend.Sessions(); n < 1299 || n > 1301 {
			t.Errorf("%d of 2600 sessions at the end, want 1300", n)
		}
	})
}
