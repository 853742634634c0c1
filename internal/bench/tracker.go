package bench

// tracker follows the numbers of one sender's messages, which must come from 0
// on, each once.
type tracker struct {
	next    uint32
	missing map[uint32]struct{} // below next; nil as long as all is well
}

type verdict uint8

const (
	inOrder verdict = iota // maybe after a gap
	reordered
	duplicate
)

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

// outstanding is how many of the sent messages have not come.
func (t *tracker) outstanding(sent uint32) int { return int(sent-t.next) + len(t.missing) }
