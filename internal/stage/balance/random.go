package balance

import "math/rand/v2"

// randomSource is a picker's random number generator.
type randomSource struct{ r *rand.Rand } // nil: the global one

// uintN returns a number from 0 to n-1.
func (c randomSource) uintN(n uint64) uint64 {
	if c.r == nil {
		return rand.Uint64N(n)
	}
	return c.r.Uint64N(n)
}

// random draws a member, in proportion to weight.
type random struct{}

func (random) pick(p *picker, _ *Query) int {
	weight, _ := p.totals()
	return p.draw(p.random, weight, -1)
}

func (random) picked(*picker, *Query, int) {}

// draw returns a random candidate other than except, in proportion to weight.
// total is the sum of the weights without except's. It returns -1 if that is 0.
func (c *candidates) draw(r randomSource, total uint64, except int) int {
	if total == 0 {
		return -1
	}
	at := r.uintN(total)
	for i, w := range c.weights {
		if i == except {
			continue
		}
		if at < w {
			return i
		}
		at -= w
	}
	panic("balance: the weights sum to less than their total")
}
