package eventloop

import "time"

// Tick is the resolution of every timeout on a loop: 67 ms. As a count since
// the loops started it fits 32 bits for nine years.
type Tick uint32

const (
	tickShift = 26 // 2^26 ns

	// Never is later than every tick a loop reaches.
	Never Tick = 1<<32 - 1

	// maxTicks, 4 years, is as long as any timeout gets, so that a tick
	// added to it does not come round to the past.
	maxTicks = 1 << 31
)

// Ticks converts d, rounding up; 0 stays 0. Counted from the tick that is under
// way, a timeout may come up to one tick early. What is longer than a clock of
// 32 bits counts is cut to half of that, which is over four years.
func Ticks(d time.Duration) Tick {
	if d <= 0 {
		return 0
	}
	n := (d-1)>>tickShift + 1
	if n > maxTicks {
		return maxTicks
	}
	return Tick(n)
}

// TickAt is the tick it is now, counted from began.
func TickAt(began time.Time) Tick { return Tick(time.Since(began) >> tickShift) }

// Duration is the time t ticks take.
func (t Tick) Duration() time.Duration { return time.Duration(t) << tickShift }
