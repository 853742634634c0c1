// Package spread divides a length of time evenly, for work that should be done
// one piece after the other: the relay closes and moves sessions by it, and so
// does its model in the simulation.
package spread

import (
	"math/bits"
	"time"
)

// Part returns i n-ths of d, for i from 0 to n and n above 0. d times i may
// overflow a Duration: a day times 106,752 does. A negative d counts as 0.
func Part(d time.Duration, i, n int) time.Duration {
	high, low := bits.Mul64(uint64(max(0, d)), uint64(i))
	q, _ := bits.Div64(high, low, uint64(n))
	return time.Duration(q)
}
