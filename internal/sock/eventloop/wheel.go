package eventloop

import "math/bits"

const (
	wheelSlots = 512 // 34 s in one turn; what is due later stays for another
	wheelMask  = wheelSlots - 1
	nobody     = int32(-1)
)

// wheel is a hashed timing wheel over a loop's slots: one timer for each slot,
// linked through the slots themselves, so that a timer needs no memory of its own
// and arming one is O(1). A bitmap shows how long the loop may sleep.
type wheel struct {
	heads [wheelSlots]int32 // first slot of each bucket, or nobody
	busy  [wheelSlots / 64]uint64
	at    Tick // everything due up to and including at has been expired
}

func (w *wheel) init(now Tick) {
	for i := range w.heads {
		w.heads[i] = nobody
	}
	w.at = now
}

func (w *wheel) arm(s *slab, i int32, due Tick) {
	sl := s.at(i)
	if sl.armed() {
		if sl.due == due {
			return
		}
		w.disarm(s, i)
	}
	if due <= w.at {
		due = w.at + 1 // at the next tick, not after a whole turn
	}
	b := due & wheelMask
	sl.next, sl.prev, sl.due = w.heads[b], nobody, due
	if sl.next != nobody {
		s.at(sl.next).prev = i
	}
	w.heads[b] = i
	w.busy[b/64] |= 1 << (b % 64)
}

func (w *wheel) disarm(s *slab, i int32) {
	sl := s.at(i)
	if !sl.armed() {
		return
	}
	b := sl.due & wheelMask
	if sl.prev != nobody {
		s.at(sl.prev).next = sl.next
	} else if w.heads[b] = sl.next; sl.next == nobody {
		w.busy[b/64] &^= 1 << (b % 64)
	}
	if sl.next != nobody {
		s.at(sl.next).prev = sl.prev
	}
	sl.due = 0
}

// expire appends to out the slots due up to now, disarmed.
func (w *wheel) expire(s *slab, now Tick, out []int32) []int32 {
	if now <= w.at {
		return out
	}
	steps := min(now-w.at, wheelSlots)
	for b := w.at + 1; steps > 0; b, steps = b+1, steps-1 {
		for i := w.heads[b&wheelMask]; i != nobody; {
			sl := s.at(i)
			next := sl.next
			if sl.due <= now {
				w.disarm(s, i)
				out = append(out, i)
			}
			i = next
		}
	}
	w.at = now
	return out
}

// next is how many ticks after at the next bucket in use is reached, which is when
// a timer may be due. ok is false if no timer is armed.
func (w *wheel) next() (after Tick, ok bool) {
	start := (w.at + 1) & wheelMask
	word, shift := start/64, start%64
	for k := Tick(0); k <= wheelSlots/64; k++ {
		b := w.busy[(word+k)%(wheelSlots/64)]
		if k == 0 {
			b &= ^uint64(0) << shift
		} else if k == wheelSlots/64 {
			b &= 1<<shift - 1
		}
		if b != 0 {
			return (word+k)*64 + Tick(bits.TrailingZeros64(b)) - start + 1, true
		}
	}
	return 0, false
}
