package rebalance_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/rebalance"
)

var usual = rebalance.Rules{Above: .1, Rate: 2}

// Three backends with 1,000 sessions each, and one that has just come: 250 of
// each are given away at the rate, and nothing else ever.
func TestNewcomer(t *testing.T) {
	for name, rules := range map[string]rebalance.Rules{
		"moved":  {Above: .1, Rate: 50},
		"closed": {Above: .1, Rate: 50, Absence: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(rules, 1000, 1000, 1000)
			w.run(time.Minute)
			if w.given > 0 || w.State().Active {
				t.Fatalf("%d sessions of an even pool were given away", w.given)
			}
			w.join(1)
			w.step()
			if s := w.State(); !s.Active || s.Excess != 750 {
				t.Errorf("when one has joined: %+v", s)
			}
			if took := w.untilEven(time.Minute); took > 250/50*time.Second+2*rebalance.Interval {
				t.Errorf("it took %v", took)
			}
			w.run(time.Hour)
			if got := w.sessions(); w.given != 750 || !slices.Equal(got, []int{750, 750, 750, 750}) {
				t.Errorf("%d were given away, and it came to %v", w.given, got)
			}
			if s := w.State(); s.Active || s.Excess != 0 || s.Rest != 0 || s.Given != 750 {
				t.Errorf("in the end: %+v", s)
			}
			if w.tooMany != "" {
				t.Error(w.tooMany)
			}
		})
	}
}

// Whatever the numbers and weights: each gives at most what it has over, no
// more in all than were over, at its rate, and everybody has its fair share
// then, in the time that the rate predicts. After that nothing happens.
func TestOnlyTheExcessIsGivenAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rebalance.Rules{Above: rapid.Float64Range(.01, 1).Draw(t, "above"), Rate: rapid.Float64Range(.1, 100).Draw(t, "rate")}
		if rapid.Bool().Draw(t, "closed") {
			rules.Absence = 30 * time.Second
		}
		w := newWorld(rules, rapid.SliceOfN(rapid.IntRange(0, 500), 1, 20).Draw(t, "sessions")...)
		for _, b := range w.backends {
			b.weight = rapid.IntRange(1, 9).Draw(t, "weight")
		}
		w.trip = time.Duration(rapid.IntRange(0, 3000).Draw(t, "trip in ms")) * time.Millisecond
		before, fair := w.sessions(), w.fair()
		over, far, longest := 0, false, 0.0
		for i, f := range fair {
			off := float64(before[i]) - f
			far = far || math.Abs(off) >= 2 && math.Abs(off) > rules.Above*f
			longest = max(longest, off/rules.Rate)
		}
		for i := range before {
			over += max(before[i]-w.whole(i), 0)
		}
		if !far {
			over = 0
		}
		// Each may wait for a whole session's time, and those that are on
		// their way when the last is ordered must have come.
		predicted := time.Duration((longest + 1/rules.Rate) * float64(time.Second))
		took := w.untilEven(4*predicted + time.Hour)
		if w.tooMany != "" {
			t.Fatal(w.tooMany)
		}
		if w.given != over {
			t.Fatalf("%d sessions were given away, %d were over: %v became %v, fair is %v", w.given, over, before, w.sessions(), fair)
		}
		if took > predicted+3*rebalance.Interval {
			t.Fatalf("it took %v, predicted were %v", took, predicted)
		}
		if far {
			for i, n := range w.sessions() {
				if math.Abs(float64(n)-fair[i]) >= 1 {
					t.Fatalf("it came to %v, fair is %v", w.sessions(), fair)
				}
			}
		}
		w.run(10 * time.Minute)
		if w.given != over {
			t.Fatalf("%d more were given away when all was even", w.given-over)
		}
	})
}

// whole is the most sessions that the i-th may keep: those of a fair share that
// is no whole number which have the most keep one more.
func (w *world) whole(i int) int {
	fair, sessions := w.fair(), w.sessions()
	rest := 0
	var order []int
	for j, n := range sessions {
		whole := int(fair[j] + 1e-6)
		rest += n - whole
		if fair[j] > float64(whole)+1e-6 {
			order = append(order, j)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return int(math.Copysign(1, (float64(sessions[b])-fair[b])-(float64(sessions[a])-fair[a])))
	})
	if at := slices.Index(order, i); at >= 0 && at < rest {
		return int(fair[i]+1e-6) + 1
	}
	return int(fair[i] + 1e-6)
}
