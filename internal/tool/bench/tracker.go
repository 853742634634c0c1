package bench

// tracker checks the numbers of the messages of one sender, which must arrive in
// order, starting at 0.
type tracker struct {
	next    uint32
	missing map[uint32]struct{} // less than next; nil until a message is missing
}

type verdict uint8

const (
	inOrder verdict = iota // possibly after a gap
	reordered
	duplicate
)

// take records the arrival of a message.
func (t *tracker) take(seq uint32) verdict {
	if seq >= t.next {
		for ; t.next < seq; t.next++ {
			if t.missing == nil {
				t.missing = map[uint32]struct{}{}
			}
			t.missing[t.next] = struct{}{}
		}
		t.next++
		return inOrder
	}
	if _, ok := t.missing[seq]; ok {
		delete(t.missing, seq)
		return reordered
	}
	return duplicate
}

// outstanding returns how many of the sent messages haven't arrived.
func (t *tracker) outstanding(sent uint32) int { return int(sent-t.next) + len(t.missing) }
