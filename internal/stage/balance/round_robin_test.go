package balance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRoundRobinFollowsWeightsExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		p := mustNew(t, Options{Algorithm: "round_robin"}, members(t, weights...))
		for cycle := range 3 {
			count := make([]int, len(weights))
			for range sum(weights) {
				count[mustTake(t, p, Query{}).Index]++
			}
			if !slices.Equal(count, weights) {
				t.Fatalf("cycle %d: taken %v, want the weights %v", cycle, count, weights)
			}
		}
	})
}

func TestRoundRobinIsSmooth(t *testing.T) {
	p := mustNew(t, Options{Algorithm: "round_robin"}, members(t, 5, 1, 1))
	run, longest := 0, 0
	for range 70 {
		if mustTake(t, p, Query{}).Index == 0 {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	// a a b a c a a: at most four where two cycles meet
	if longest > 4 {
		t.Errorf("the heavy backend came %d times in a row", longest)
	}
}

// While a member is down or tried, the others share by weight; once it is back,
// all do at once.
func TestRoundRobinAfterAnOutage(t *testing.T) {
	p := mustNew(t, Options{Algorithm: "round_robin"}, members(t, 3, 2, 1))
	count := make([]int, 3)
	for range 30 {
		count[mustTake(t, p, without(0)).Index]++
	}
	if want := []int{0, 20, 10}; !slices.Equal(count, want) {
		t.Errorf("without the first: %v, want %v", count, want)
	}
	clear(count)
	for range 60 {
		count[mustTake(t, p, Query{}).Index]++
	}
	if want := []int{30, 20, 10}; !slices.Equal(count, want) {
		t.Errorf("all back: %v, want %v", count, want)
	}
}

// A member that has just had its turn in a large pool isn't left out for as many
// turns once the pool has become small.
func TestRoundRobinForgetsALargerPool(t *testing.T) {
	const n = 50
	m := members(t, equal(n)...)
	p := mustNew(t, Options{Algorithm: "round_robin"}, m)
	last := mustTake(t, p, Query{}).Index
	away := Query{}
	for i := range n {
		if i != last && i != (last+1)%n {
			away.Tried.Add(i)
		}
	}
	for turn := range 6 {
		if mustTake(t, p, away).Index == last {
			break
		} else if turn == 5 {
			t.Error("of two backends, one was left out 6 times in a row")
		}
	}
}

func TestRoundRobinByReportedLoad(t *testing.T) {
	m := members(t, 1, 1, 2)
	m[1].Backend.SetLoad(0.5)
	m[2].Backend.SetLoad(0.25)
	p := mustNew(t, Options{Algorithm: "round_robin"}, m)
	count := make([]int, 3)
	for range 40 {
		count[mustTake(t, p, Query{}).Index]++
	}
	if want := []int{20, 10, 10}; !slices.Equal(count, want) {
		t.Errorf("taken %v, want %v", count, want)
	}
}
