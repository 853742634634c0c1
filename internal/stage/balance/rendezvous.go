package balance

import (
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// rendezvous is weighted highest-random-weight hashing. Each key draws a fixed
// number from 0 to 1 for each member, and belongs to the one with the highest
// weight/-ln(number). A member's share of the keys is its share of the weights.
// Each key orders all members differently: when one leaves, its keys move to
// their next member, and no others move.
//
// It needs no table that must be built or kept the same on several balancers:
// the numbers depend only on the key and the names of pool and backend. It
// looks at every member, which a choice does anyway.
type rendezvous struct {
	seeds   []uint64
	weights []float64
	even    bool // all weights are equal, so the highest number wins
}

func newRendezvous(members []pool.Member) rendezvous {
	r := rendezvous{make([]uint64, len(members)), make([]float64, len(members)), true}
	for i, m := range members {
		r.seeds[i] = xxhash.Sum64String(m.Backend.Pool + "\x00" + m.Backend.Name)
		r.weights[i] = float64(m.Weight)
		r.even = r.even && m.Weight == members[0].Weight
	}
	return r
}

// first returns the member with the highest score for the key, among those
// whose candidate is not 0; nil means all. It returns -1 if there is none.
func (r *rendezvous) first(key uint64, candidate []uint64) int {
	best, least := -1, math.Inf(1)
	for i, seed := range r.seeds {
		if candidate != nil && candidate[i] == 0 {
			continue
		}
		// 52 bits and a half are exact in a float64, and neither 0 nor 1.
		u := (float64(mix(key^seed)>>12) + 0.5) / (1 << 52)
		// The reciprocal of the score, so the least wins. -ln(u) is at
		// least 1-u, which rules out most members cheaply.
		cost := (1 - u) / r.weights[i]
		if cost >= least {
			continue
		}
		if !r.even {
			cost = -math.Log(u) / r.weights[i]
		}
		if cost < least {
			best, least = i, cost
		}
	}
	return best
}

// mix is the finalizer of SplitMix64: each bit of x changes half of the
// result's bits on average.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
