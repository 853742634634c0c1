package balance

// Tried is the set of members that one handshake has tried without success. The zero
// value is empty. It allocates only for members from the 65th on.
type Tried struct {
	low  uint64
	high []uint64
}

// Add puts member i into the set.
func (t *Tried) Add(i int) {
	if i < 64 {
		t.low |= 1 << i
		return
	}
	word := i/64 - 1
	for len(t.high) <= word {
		t.high = append(t.high, 0)
	}
	t.high[word] |= 1 << (i % 64)
}

// Has reports whether member i is in the set.
func (t Tried) Has(i int) bool {
	if i < 64 {
		return t.low&(1<<i) != 0
	}
	word := i/64 - 1
	return word < len(t.high) && t.high[word]&(1<<(i%64)) != 0
}
