package pool

import "math"

// Capacity is what the fair share of a backend depends on.
type Capacity struct {
	// Weight is its weight times its Share. If it is 0, its fair share is 0.
	Weight uint64
	Limit  int // of sessions; see Backend.SessionLimit
}

// FairLevel divides n sessions among backends by weight. No backend gets more
// than its limit; what one can't take goes to the others. The result is the
// number of sessions for a weight of 1, from which Capacity.FairShare computes
// each backend's. It is infinite if all backends are at their limits.
func FairLevel(parts []Capacity, n int) float64 {
	for level := 0.0; ; {
		weight, left := uint64(0), float64(n)
		for _, p := range parts {
			switch {
			case p.Weight == 0:
			case float64(p.Limit) <= level*float64(p.Weight):
				left -= float64(p.Limit)
			default:
				weight += p.Weight
			}
		}
		if weight == 0 {
			return math.Inf(1)
		}
		// Each round finds more backends at their limits, or was the last.
		next := left / float64(weight)
		if next <= level {
			return level
		}
		level = next
	}
}

// FairShare is the backend's fair share of sessions at a FairLevel.
func (p Capacity) FairShare(level float64) float64 {
	if p.Weight == 0 {
		return 0
	}
	fair := min(level*float64(p.Weight), float64(p.Limit))
	if whole := math.Round(fair); math.Abs(fair-whole) < 1e-6 {
		return whole // 29/7*7 must not be more than 29
	}
	return fair
}
