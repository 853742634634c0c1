package bench

import (
	"context"
	"time"
)

// pacer calls a function at a fixed rate.
type pacer struct {
	// sleep sleeps for about the given time. run checks the clock afterwards.
	sleep func(time.Duration)
}

// maxSleep limits how long run takes to notice the end of its context.
const maxSleep = 20 * time.Millisecond

// run calls do for k = 0, 1, … n-1, or forever if n is negative. Each call happens at
// start + k/rate, or at once if that is in the past. run returns the number of calls,
// which is less than n if ctx has ended.
func (p pacer) run(ctx context.Context, start time.Time, rate float64, n int, do func(k int, due time.Time)) int {
	for k := 0; n < 0 || k < n; k++ {
		due := start.Add(time.Duration(float64(k) / rate * float64(time.Second)))
		for {
			if ctx.Err() != nil {
				return k
			}
			wait := time.Until(due)
			if wait <= 0 {
				break
			}
			p.sleep(min(wait, maxSleep))
		}
		do(k, due)
	}
	return n
}
