package rebalance_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
)

var usual = rebalance.Rules{Above: .1, Rate: 2}

// There are three backends with 1,000 sessions each, and a new one: 250 of each are
// given away at the rate, and nothing else ever.
func TestNewcomer(t *testing.T) {
	for name, rules := range map[string]rebalance.Rules{
		"moved":  {Above: .1, Rate: 50},
		"closed": {Above: .1, Rate: 50, ReconnectTime: rebalance.ServiceRestartDelay},
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

// Whatever the numbers and weights, each backend gives away at most its excess, at
// its rate, and in the predicted time everybody has its fair share. After that
// nothing happens.
func TestOnlyTheExcessIsGivenAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rebalance.Rules{Above: rapid.Float64Range(.01, 1).Draw(t, "above"), Rate: rapid.Float64Range(.1, 100).Draw(t, "rate")}
		if rapid.Bool().Draw(t, "closed") {
			rules.ReconnectTime = rebalance.ServiceRestartDelay
		}
		w := newWorld(rules, rapid.SliceOfN(rapid.IntRange(0, 500), 1, 20).Draw(t, "sessions")...)
		for _, b := range w.backends {
			b.weight = rapid.IntRange(1, 9).Draw(t, "weight")
		}
		w.trip = time.Duration(rapid.IntRange(0, 3000).Draw(t, "trip in ms")) * time.Millisecond
		w.skew = time.Duration(rapid.IntRange(0, 200).Draw(t, "skew in ms")) * time.Millisecond
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
		// Each may wait for a whole session's time, and some steps for those
		// that seemed to leave twice, since they left between two snapshots.
		predicted := time.Duration((longest + 1/rules.Rate) * float64(time.Second))
		took := w.untilEven(4*predicted + time.Hour)
		if w.tooMany != "" {
			t.Fatal(w.tooMany)
		}
		// A plan may end with one less, since a snapshot has counted a session twice; a
		// new one begins only with two.
		if w.given > over || w.given < over-1 {
			t.Fatalf("%d sessions were given away, %d were over: %v became %v, fair is %v", w.given, over, before, w.sessions(), fair)
		}
		if took > predicted+w.trip+10*rebalance.Interval {
			t.Fatalf("it took %v, predicted were %v", took, predicted)
		}
		if far {
			for i, n := range w.sessions() {
				if math.Abs(float64(n)-fair[i]) >= float64(1+over-w.given) {
					t.Fatalf("it came to %v, fair is %v", w.sessions(), fair)
				}
			}
		}
		given := w.given
		w.run(10 * time.Minute)
		if w.given != given {
			t.Fatalf("%d more were given away when all was even", w.given-given)
		}
	})
}

// whole is how many sessions the i-th may keep at most. If a fair share isn't a
// whole number, the members with the most sessions keep one more.
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

// A backend that loses all it gets isn't given more than the others' excess, and
// then nothing for a while, which doubles. If its weight changes, it is tried again.
func TestBackendThatLosesAll(t *testing.T) {
	w := newWorld(rebalance.Rules{Above: .1, Rate: 10}, 100, 100, 0)
	sick := w.backends[2]
	healthy := 0
	w.loses = func(to *server) bool {
		if to == sick { // its clients come back elsewhere
			w.backends[healthy%2].sessions++
			healthy++
		}
		return to == sick
	}
	w.run(30 * time.Second)
	if s := w.State(); w.given != 66 || s.Active || s.Rest != time.Minute {
		t.Fatalf("%d were given away: %+v", w.given, s)
	}
	for _, rest := range []time.Duration{2 * time.Minute, 4 * time.Minute} {
		before := w.given
		w.run(rest/2 + 30*time.Second)
		if s := w.State(); w.given-before != 66 || s.Rest != rest {
			t.Fatalf("%d more were given away: %+v", w.given-before, s)
		}
	}
	for range 12 {
		w.run(time.Hour)
	}
	if s := w.State(); s.Rest != time.Hour {
		t.Errorf("after half a day: %+v", s)
	}
	before := w.given
	w.loses, sick.weight = nil, 2
	w.run(time.Minute)
	if got := w.sessions(); w.given-before != 100 || !slices.Equal(got, []int{50, 50, 100}) {
		t.Errorf("%d were given away, and it came to %v", w.given-before, got)
	}
}

// Moves that fail are not tried forever.
func TestMovesThatFail(t *testing.T) {
	w := newWorld(rebalance.Rules{Above: .1, Rate: 10}, 100, 0)
	w.fails = func() bool { return true }
	w.run(10 * time.Minute)
	if w.given < 50 || w.given > 4*50 {
		t.Errorf("%d moves were tried in 10 minutes, with an excess of 50", w.given)
	}
}

// If no session may be given away, that is tried less and less often.
func TestNoSessionMayGo(t *testing.T) {
	w := newWorld(usual, 100, 0)
	asked := 0
	for range 10 * 60 * 2 { // 10 minutes
		w.travel(0)
		if give := w.Step(w.now, w.members(nil)); len(give) > 0 {
			asked++
			w.RecordGiven(w.now, 0)
		}
		w.now = w.now.Add(rebalance.Interval)
	}
	if s := w.State(); asked < 20 || asked > 30 || !s.Active || !s.Paused {
		t.Errorf("asked %d times in 10 minutes: %+v", asked, s)
	}
	if w.run(time.Minute); w.State().Given == 0 {
		t.Error("nothing is given away when some may go again")
	}
}

// What starts and ends rebalancing, besides numbers.
func TestWhoTakesPart(t *testing.T) {
	full := func(w *world) { w.backends[2].most = 60 }
	for name, tt := range map[string]struct {
		sessions []int
		change   func(w *world)
		want     []int
		given    int
	}{
		"one that is down gives and gets nothing": {[]int{100, 100, 300, 0}, func(w *world) { w.backends[2].down, w.backends[3].down = true, true }, []int{100, 100, 300, 0}, 0},
		"one comes back":             {[]int{90, 90, 0}, nil, []int{60, 60, 60}, 60},
		"one grows":                  {[]int{90, 90}, func(w *world) { w.backends[1].weight = 2 }, []int{60, 120}, 30},
		"one shrinks":                {[]int{90, 90}, func(w *world) { w.backends[1].weight, w.backends[0].weight = 1, 2 }, []int{120, 60}, 30},
		"one is full":                {[]int{300, 300, 0}, full, []int{270, 270, 60}, 60},
		"all that lack some are":     {[]int{100, 300, 60}, func(w *world) { full(w); w.backends[0].most = 100 }, []int{100, 300, 60}, 0},
		"too few are available":      {[]int{100, 0, 0}, func(w *world) { w.backends[2].down = true; w.Rules.MinAvailable = 3 }, []int{100, 0, 0}, 0},
		"alone":                      {[]int{100}, nil, []int{100}, 0},
		"nobody":                     {nil, nil, nil, 0},
		"a pool without sessions":    {[]int{0, 0}, nil, []int{0, 0}, 0},
		"one more is even":           {[]int{1, 0}, nil, []int{1, 0}, 0},
		"so is a tenth":              {[]int{109, 100, 91}, nil, []int{109, 100, 91}, 0},
		"a tenth and a little isn't": {[]int{111, 100, 89}, nil, []int{100, 100, 100}, 11},
		"one of many has just come":  {slices.Concat(slices.Repeat([]int{42}, 20), []int{0}), nil, slices.Repeat([]int{40}, 21), 40},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(rebalance.Rules{Above: .1, Rate: 10}, tt.sessions...)
			if tt.change != nil {
				tt.change(w)
			}
			w.run(2 * time.Minute)
			if got := w.sessions(); !slices.Equal(got, tt.want) || w.given != tt.given || w.tooMany != "" {
				t.Errorf("%d were given away, and it came to %v, want %d and %v %s", w.given, got, tt.given, tt.want, w.tooMany)
			}
			if s := w.State(); s.Active || s.Rest != 0 {
				t.Errorf("in the end: %+v", s)
			}
		})
	}
}

// While the weight of a backend grows gradually, as in a slow start, it gets no more
// than its current fair share.
func TestSlowStart(t *testing.T) {
	w := newWorld(rebalance.Rules{Above: .1, Rate: 50}, 1000, 1000, 1000)
	for _, b := range w.backends {
		b.weight = 1000
	}
	b := w.join(1)
	for b.weight < 1000 {
		b.weight = min(b.weight+17, 1000) // half a minute
		w.step()
		if fair := w.fair()[3]; float64(b.sessions) > fair+1 {
			t.Fatalf("with a weight of %d it has %d, its fair share is %v", b.weight, b.sessions, fair)
		}
	}
	w.run(time.Minute)
	if w.given < 675 || w.given > 750 {
		t.Errorf("%d were given away, and it came to %v", w.given, w.sessions())
	}
}

// With thousands of clients that come and go at random, hardly anything is given
// away once the pool is even, and no backend stays far from its fair share.
func TestChurn(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	w := newWorld(rebalance.Rules{Above: .1, Rate: 20}, 500, 500, 500, 0)
	churn := func(d time.Duration) {
		for until := w.now.Add(d); w.now.Before(until); w.step() {
			for range 10 {
				if from := w.backends[chance.IntN(4)]; from.sessions > from.leaving {
					from.sessions--
				}
				w.backends[chance.IntN(4)].sessions++
			}
		}
	}
	churn(time.Minute)
	for i, f := range w.fair() {
		if n := w.backends[i].sessions; math.Abs(float64(n)-f) > f/10 {
			t.Errorf("a minute later one has %d, its fair share is %v", n, f)
		}
	}
	if w.given < 300 || w.given > 450 {
		t.Errorf("%d were given away, 375 were over", w.given)
	}
	before := w.given
	churn(10 * time.Minute)
	// 12,000 have come and gone.
	if n := w.given - before; n > 600 {
		t.Errorf("%d were given away in 10 minutes when all was even", n)
	}
	t.Logf("%d given away in the first minute, %d in the next ten", before, w.given-before)
}
