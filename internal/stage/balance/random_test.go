package balance

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestRandomFollowsWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		p := mustNew(t, Options{Algorithm: "random"}, members(t, weights...))
		count := make([]int, len(weights))
		for range 1500 {
			count[mustTake(t, p, Query{}).Index]++
		}
		inProportion(t, count, weights)
	})
}

// While sessions only come, no member is farther from its part by weight than a
// hundredth of it, plus ten.
func TestP2CFairness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		m := members(t, weights...)
		p := mustNew(t, Options{Algorithm: "p2c"}, m)
		n := rapid.SampledFrom([]int{100, 500, 2000}).Draw(t, "sessions")
		for range n {
			mustTake(t, p, Query{})
		}
		for i, got := range sessionsOf(m) {
			part := float64(n*weights[i]) / float64(sum(weights))
			if off := math.Abs(float64(got) - part); off > part/100+10 {
				t.Fatalf("%v for the weights %v, %.0f off for %d", sessionsOf(m), weights, off, i)
			}
		}
	})
}

func TestP2CNewcomerGetsTwiceItsPart(t *testing.T) {
	m := members(t, equal(10)...)
	for i := range 9 {
		occupy(m[i].Backend, 1000)
	}
	p := mustNew(t, Options{Algorithm: "p2c"}, m)
	count := make([]int, 2)
	for range 900 {
		c := mustTake(t, p, Query{})
		if c.Index == 9 {
			count[1]++
		} else {
			count[0]++
		}
	}
	inProportion(t, count, []int{8, 2})
}

// Of two members, the less loaded is always taken.
func TestP2COfTwo(t *testing.T) {
	m := members(t, 1, 2)
	occupy(m[0].Backend, 50)
	p := mustNew(t, Options{Algorithm: "p2c"}, m)
	for range 100 {
		if c := mustTake(t, p, Query{}); c.Index != 1 {
			t.Fatalf("took %d of %v", c.Index, sessionsOf(m))
		}
	}
}
