package balance

// p2c, the power of two choices, draws two different members by weight and
// takes the less loaded. Among equal backends, none gets more than twice its
// part of the choices, not even an empty newcomer.
type p2c struct{}

func (p2c) pick(p *picker, _ *Query) int {
	weight, _ := p.totals()
	one := p.draw(p.random, weight, -1)
	if one < 0 || p.weights[one] == weight {
		return one
	}
	two := p.draw(p.random, weight-p.weights[one], one)
	if p.lessLoaded(two, one) {
		return two
	}
	return one
}

func (p2c) picked(*picker, *Query, int) {}
