package balance

// first takes the first candidate in the order of the configuration. A member gets
// sessions only while all before it are full or not available.
type first struct{}

func (first) pick(p *picker, _ *Query) int {
	for i, w := range p.weights {
		if w > 0 {
			return i
		}
	}
	return -1
}

func (first) picked(*picker, *Query, int) {}
