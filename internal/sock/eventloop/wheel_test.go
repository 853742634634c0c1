package eventloop

import (
	"maps"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// TestWheelModel compares the wheel with a map from slots to ticks.
func TestWheelModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s slab
		var w wheel
		start := Tick(rapid.Uint32Max(1<<31).Draw(t, "start"))
		w.init(start)
		now := start
		for range 40 {
			s.take()
		}
		due := map[int32]Tick{}
		slot := func() int32 { return rapid.Int32Range(0, 39).Draw(t, "slot") }
		t.Repeat(map[string]func(*rapid.T){
			"arm": func(t *rapid.T) {
				i := slot()
				at := now + Tick(rapid.OneOf(rapid.Uint32Range(0, 5), rapid.Uint32Range(500, 530), rapid.Uint32Max(3000)).Draw(t, "in"))
				if rapid.IntRange(0, 9).Draw(t, "past") == 0 {
					at = now - min(now, 7)
				}
				if rapid.IntRange(0, 20).Draw(t, "never") == 0 {
					at = Never
				}
				w.arm(&s, i, at)
				due[i] = max(at, now+1) // what has passed expires at the next tick
			},
			"disarm": func(*rapid.T) {
				i := slot()
				w.disarm(&s, i)
				delete(due, i)
			},
			"advance": func(t *rapid.T) {
				now += Tick(rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32Range(400, 600), rapid.Uint32Max(5000)).Draw(t, "by"))
				got := w.expire(&s, now, nil)
				var want []int32
				for i, at := range due {
					if at <= now {
						want = append(want, i)
						delete(due, i)
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("at tick %d expired %v, want %v", now, got, want)
				}
			},
			"": func(t *rapid.T) {
				for i := range int32(40) {
					if _, armed := due[i]; s.at(i).armed() != armed {
						t.Fatalf("slot %d: armed %v, want %v", i, s.at(i).armed(), armed)
					}
				}
				after, ok := w.next()
				if ok != (len(due) > 0) {
					t.Fatalf("next is %v with %d armed", ok, len(due))
				}
				if !ok {
					return
				}
				first := slices.Min(slices.Collect(maps.Values(due)))
				if after < 1 || after > wheelSlots || now+after > first {
					t.Fatalf("at tick %d next is after %d, the first is due at %d", now, after, first)
				}
				// It may be early only for what is due in a later turn.
				if first-now <= wheelSlots && !slices.ContainsFunc(slices.Collect(maps.Values(due)), func(at Tick) bool {
					return at&wheelMask == (now+after)&wheelMask
				}) {
					t.Fatalf("next is after %d, where nothing is armed", after)
				}
			},
		})
	})
}

func TestSlab(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s slab
		used := map[int32]*slot{}
		gens := map[int32]uint32{}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(*rapid.T) {
				n := rapid.IntRange(1, 5).Draw(t, "n")
				if len(used) == 0 {
					n = chunkSlots - 2
				}
				for range n {
					i := s.take()
					sl := s.at(i)
					if used[i] != nil || !sl.used() || sl.task != nobody || sl.armed() {
						t.Fatalf("slot %d was taken: %+v", i, sl)
					}
					used[i] = sl
					if g, before := gens[i]; before && g == sl.gen {
						t.Fatalf("slot %d has its old generation %d", i, g)
					}
					gens[i] = sl.gen
				}
			},
			"put": func(t *rapid.T) {
				if len(used) > 0 {
					for i := range used { // any
						s.put(i)
						delete(used, i)
						break
					}
				}
			},
			"": func(*rapid.T) {
				if s.inUse != len(used) {
					t.Fatalf("%d in use, want %d", s.inUse, len(used))
				}
				for i, sl := range used {
					if s.at(i) != sl {
						t.Fatalf("slot %d has moved", i)
					}
					if i%16 != 0 {
						break // now and then, all of some
					}
				}
			},
		})
	})
}

// TestSlotSize: an idle session has one.
func TestSlotSize(t *testing.T) {
	if size := unsafe.Sizeof(slot{}); size != 20 {
		t.Errorf("a slot takes %d bytes, want 20", size)
	}
}

func TestTicks(t *testing.T) {
	const tick = 1 << tickShift
	for _, c := range []struct {
		d    time.Duration
		want Tick
	}{
		{-1, 0}, {0, 0}, {1, 1}, {tick - 1, 1}, {tick, 1}, {tick + 1, 2}, {10 * tick, 10},
		{time.Hour, 53645}, {MaxTicks * tick, MaxTicks}, {MaxTicks*tick + 1, MaxTicks}, {1<<63 - 1, MaxTicks},
	} {
		if got := Ticks(c.d); got != c.want {
			t.Errorf("Ticks(%d) = %d, want %d", c.d, got, c.want)
		}
		if got := Ticks(c.d); c.d <= MaxTicks*tick && got.Duration() < c.d {
			t.Errorf("Ticks(%v) is %v, which is less", c.d, got.Duration())
		}
	}
	if got := TickAt(time.Now().Add(-100 * tick)); got < 100 || got > 200 {
		t.Errorf("TickAt = %d, want 100", got)
	}
}
