package balance

import (
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/holdfast-ws/holdfast/internal/pool"
)

// rendezvous is weighted highest random weight hashing: each key draws for each
// member a number from 0 to 1, always the same, and belongs to the one with
// the highest weight/-ln(number). A member's part of the keys is its part of
// the weights, and each key puts all members into an order of its own: when
// one leaves, its keys go to their next, and no others move.
//
// It takes a look at every member, which a choice has to do anyway, and has
// no table to build or to keep alike on several balancers: the numbers come
// from nothing but the key and the names of pool and backend.
type rendezvous struct {
	seeds   []uint64
	weights []float64
	even    bool // the weights are equal: the highest number will do
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

// first is the member that the key scores highest with, of those whose
// candidate is not 0; nil is all. -1 where there is none.
func (r *rendezvous) first(key uint64, candidate []uint64) int {
	best, least := -1, math.Inf(1)
	for i, seed := range r.seeds {
		if candidate != nil && candidate[i] == 0 {
			continue
		}
		// 52 bits and a half are exact in a float64, and neither 0 nor 1.
		u := (float64(mix(key^seed)>>12) + 0.5) / (1 << 52)
		// The reciprocal of the score: the least is the best. -ln(u) is at
		// least 1-u, which rules most members out at less cost.
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

// mix is the finalizer of SplitMix64: every bit of x changes half of the
// result's.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
