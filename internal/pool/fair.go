package pool

import "math"

// Part is what the fair share of one backend goes by.
type Part struct {
	// Weight is its Weight times its Share; with 0 it has no part.
	Weight uint64
	Most   int // sessions; see Backend.Most
}

// FairLevel divides n sessions among backends by weight, none of which gets
// more than it may have: what one can't take is for the others. It is how many
// sessions there are for a weight of 1, so that the fair share of each is
// Part.Fair of it. Where all have as many as they may it is infinite.
func FairLevel(parts []Part, n int) float64 {
	for level := 0.0; ; {
		weight, left := uint64(0), float64(n)
		for _, p := range parts {
			switch {
			case p.Weight == 0:
			case float64(p.Most) <= level*float64(p.Weight):
				left -= float64(p.Most)
			default:
				weight += p.Weight
			}
		}
		if weight == 0 {
			return math.Inf(1)
		}
		// Each round finds more that are full, or it was the last.
		next := left / float64(weight)
		if next <= level {
			return level
		}
		level = next
	}
}

// Fair is its fair share at a FairLevel, in sessions.
func (p Part) Fair(level float64) float64 {
	if p.Weight == 0 {
		return 0
	}
	fair := min(level*float64(p.Weight), float64(p.Most))
	if whole := math.Round(fair); math.Abs(fair-whole) < 1e-6 {
		return whole // lest 29/7*7 is more than 29
	}
	return fair
}
