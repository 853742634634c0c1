package eventloop

import "time"

// Tick is the resolution of every timeout on a loop: 67 ms. As a count since the
// loops started it fits in 32 bits for nine years.
type Tick uint32

const (
	tickShift = 26 // 2^26 ns

	// Never is later than every tick a loop reaches.
	Never Tick = 1<<32 - 1

	// MaxTicks, 4 years, bounds every timeout, so that a tick added to it
	// doesn't overflow.
	MaxTicks = 1 << 31
)

// Ticks converts d and rounds up; 0 stays 0. Counted from the current tick, a
// timeout may come up to one tick early. The result is at most MaxTicks.
func Ticks(d time.Duration) Tick {
	if d <= 0 {
		return 0
	}
	n := (d-1)>>tickShift + 1
	if n > MaxTicks {
		return MaxTicks
	}
	return Tick(n)
}

// TickAt is the current tick, counted from began.
func TickAt(began time.Time) Tick { return Tick(time.Since(began) >> tickShift) }

// Duration is the length of t ticks.
func (t Tick) Duration() time.Duration { return time.Duration(t) << tickShift }
