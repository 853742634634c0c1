package bench

import (
	"context"
	"time"
)

// pacer calls by the clock.
type pacer struct {
	// sleep waits for about as long; the wall clock decides whether it was
	// enough.
	sleep func(time.Duration)
}

// longestSleep bounds how long the end of a context goes unnoticed.
const longestSleep = 20 * time.Millisecond

// run calls do for k = 0, 1, … n-1 (for ever where n is negative), each when
// start + k/rate has come, at once when that is past. It returns how many
// calls there were, fewer than n where ctx ended.
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
			p.sleep(min(wait, longestSleep))
		}
		do(k, due)
	}
	return n
}
