package balance

import "math/rand/v2"

// chance is where a picker's random numbers come from.
type chance struct{ r *rand.Rand } // nil: the process's

// below is from 0 to n-1.
func (c chance) below(n uint64) uint64 {
	if c.r == nil {
		return rand.Uint64N(n)
	}
	return c.r.Uint64N(n)
}

// random draws a member by weight.
type random struct{}

func (random) choose(p *picker, _ *Query) int {
	weight, _ := p.totals()
	return p.draw(p.chance, weight, -1)
}

func (random) taken(*picker, *Query, int) {}

// p2c, the power of two choices, draws two different members by weight and
// takes the less loaded. Of equal backends none gets more than twice its part
// of the choices, the emptiest newcomer neither.
type p2c struct{}

func (p2c) choose(p *picker, _ *Query) int {
	weight, _ := p.totals()
	one := p.draw(p.chance, weight, -1)
	if one < 0 || p.weights[one] == weight {
		return one
	}
	two := p.draw(p.chance, weight-p.weights[one], one)
	if p.lighter(two, one) {
		return two
	}
	return one
}

func (p2c) taken(*picker, *Query, int) {}

// draw returns a candidate other than except by chance, in proportion to
// weight; their weights sum to total. -1 if that is 0.
func (c *candidates) draw(by chance, total uint64, except int) int {
	if total == 0 {
		return -1
	}
	at := by.below(total)
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
