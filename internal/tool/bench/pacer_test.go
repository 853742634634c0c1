package bench

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Calls happen when they are due. After a slow call, the delayed ones happen at once,
// and their due times don't change.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{0.5, 3, 200, 30_000} {
			start := time.Now().Add(time.Second)
			const n = 100
			last := time.Duration(-1)
			got := pacer{time.Sleep}.run(t.Context(), start, rate, n, func(k int, due time.Time) {
				want := time.Duration(float64(k) / rate * 1e9)
				if d := due.Sub(start); d != want {
					t.Fatalf("%v/s: call %d is due at %v, want %v", rate, k, d, want)
				}
				now := time.Since(start)
				if k == 10 {
					time.Sleep(3 * time.Second) // the target stalls the sender
				}
				if k < 10 && now != want || now < want || now < last {
					t.Fatalf("%v/s: call %d at %v, due at %v", rate, k, now, want)
				}
				last = now
			})
			if got != n {
				t.Errorf("%v/s: %d calls, want %d", rate, got, n)
			}
			if end := time.Duration(float64(n-1) / rate * 1e9); end > 10*time.Second && time.Since(start) != end {
				t.Errorf("%v/s: ended after %v, want %v: the stall was not caught up", rate, time.Since(start), end)
			}
		}
	})
}

func TestPaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		got := pacer{time.Sleep}.run(ctx, start, 1, -1, func(int, time.Time) {})
		if took := time.Since(start); got != 10 && got != 11 || took > 10*time.Second+maxSleep {
			t.Errorf("%d calls in %v", got, took)
		}
	})
}

// The system's pacer follows the same rules.
func TestPrecisePacer(t *testing.T) {
	start := time.Now()
	var n int
	withPrecisePacer(func(p pacer) {
		n = p.run(t.Context(), start, 1000, 50, func(_ int, due time.Time) {
			if time.Now().Before(due) {
				t.Error("too early")
			}
		})
	})
	if n != 50 || time.Since(start) < 49*time.Millisecond {
		t.Errorf("%d calls in %v", n, time.Since(start))
	}
}
