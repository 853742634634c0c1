package ratelimit

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// passes counts the handshakes that pass in d, if one is tried every millisecond.
func passes(b *Bucket, d time.Duration) (n int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for b.TryTake(false) {
			n++
		}
	}
	return n
}

func TestRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var risen time.Time
		p := New(Hooks{})
		p.Configure(Options{Rate: 100, Burst: 10, Ramp: 10 * time.Second})
		b := p.Bucket(1, func() time.Time { return risen })
		if n := passes(b, time.Second); n < 106 || n > 108 {
			t.Errorf("%d in a second for a backend that has not started recently", n)
		}
		risen = time.Now()
		for second, want := range []float64{14.5, 23.5, 32.5, 41.5, 50.5, 59.5, 68.5, 77.5, 86.5, 95.5, 100, 100} {
			if n := passes(b, time.Second); math.Abs(float64(n)-want) > 2 {
				t.Errorf("%d in second %d after the start, want %v", n, second, want)
			}
		}
		// The tokens it has saved up are limited when it starts again.
		time.Sleep(time.Second)
		risen = time.Now()
		if n := passes(b, time.Millisecond); n != 1 {
			t.Errorf("%d at the start", n)
		}
		risen = time.Now().Add(time.Hour)
		if got := b.RateFactor(); got != 1 {
			t.Errorf("factor %v of a backend that will start", got)
		}
	})
}

func TestRateFactorFallsAndRises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Hooks{})
		p.Configure(Options{Rate: 100, Burst: 10})
		b := p.Bucket(1, nil)
		near := func(want float64) {
			t.Helper()
			if got := b.RateFactor(); math.Abs(got-want) > 0.001 {
				t.Errorf("factor %.3f, want %.3f", got, want)
			}
		}
		bad := func() { b.Observe(time.Millisecond, false) }
		near(1)
		for range 50 { // one incident
			bad()
			time.Sleep(10 * time.Millisecond)
		}
		near(0.7)
		time.Sleep(490 * time.Millisecond)
		near(0.7)
		bad()
		near(0.7) // less than a second since it fell... 0.99 s
		time.Sleep(time.Second)
		bad()
		near(0.49)
		if n := passes(b, time.Second); n < 49 || n > 54 {
			t.Errorf("%d pass in a second at 0.49 of 100", n)
		}
		time.Sleep(time.Second)
		near(0.59)
		time.Sleep(10 * time.Second)
		near(1)
		for range 60 {
			bad()
			time.Sleep(time.Second)
		}
		near(minFactor)
		time.Sleep(time.Second / 2)
		near(minFactor + 0.05)
	})
}

func TestSlowHandshakes(t *testing.T) {
	for _, c := range []struct {
		name        string
		usual, then time.Duration
		falls       bool
	}{
		{"twice its usual time", 80 * time.Millisecond, 170 * time.Millisecond, true},
		{"less than twice", 80 * time.Millisecond, 150 * time.Millisecond, false},
		{"many times, but quick", 2 * time.Millisecond, 90 * time.Millisecond, false},
		{"quick before", 2 * time.Millisecond, 110 * time.Millisecond, true},
		{"always slow", 3 * time.Second, 4 * time.Second, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := New(Hooks{})
			p.Configure(Options{Rate: 100, Burst: 10})
			b := p.Bucket(1, nil)
			for i := range 200 {
				took := c.usual * time.Duration(90+i%21) / 100
				b.Observe(took, true)
				time.Sleep(5 * time.Millisecond)
			}
			if got := b.RateFactor(); got != 1 {
				t.Errorf("%s: factor %v while nothing changes", c.name, got)
			}
			b.Observe(c.then, true)
			if got := b.RateFactor(); (got < 1) != c.falls {
				t.Errorf("%s: factor %v", c.name, got)
			}
		})
	}
}

// After a while, slow times become the usual ones. How long that takes doesn't
// depend on the number of handshakes.
func TestSlowBecomesUsual(t *testing.T) {
	for _, every := range []time.Duration{2 * time.Millisecond, 200 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			p := New(Hooks{})
			p.Configure(Options{Rate: 100, Burst: 10})
			b := p.Bucket(1, nil)
			run := func(took, d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
					b.Observe(took, true)
				}
			}
			run(100*time.Millisecond, 10*time.Second)
			run(300*time.Millisecond, 5*time.Second)
			if got := b.RateFactor(); got > 0.5 {
				t.Errorf("every %v: factor %v while it is slow", every, got)
			}
			run(300*time.Millisecond, 40*time.Second)
			if got := b.RateFactor(); got != 1 {
				t.Errorf("every %v: factor %v when that is usual", every, got)
			}
		})
	}
}

// The median stays close to the real one, whatever the times are.
func TestMedian(t *testing.T) {
	bubble(t, func(t *rapid.T) {
		low := rapid.IntRange(1, 500).Draw(t, "low")
		high := low * rapid.IntRange(2, 50).Draw(t, "times")
		few := rapid.IntRange(0, 30).Draw(t, "percent of the high")
		p := newAdaptiveRate()
		for i := range 1000 {
			took := low
			if i*7919%100 < few {
				took = high
			}
			p.observe(time.Now(), time.Duration(took)*time.Millisecond, true)
			time.Sleep(20 * time.Millisecond)
		}
		if got, want := p.median, float64(low)/1000; math.Abs(got/want-1) > 0.1 {
			t.Fatalf("the estimate is %.4f, the median %.4f", got, want)
		}
	})
}

// Handshakes that were released and delayed are at most a fifth of the burst, and
// those that are never sent are forgotten.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Hooks{})
		p.Configure(Options{Rate: 1000, Burst: 20})
		b := p.Bucket(1, nil)
		let := func() (n int) {
			for b.TryTake(true) {
				n++
			}
			return n
		}
		if n := let(); n != 4 || b.CanTake(true) || !b.TryTake(false) {
			t.Errorf("%d were released", n)
		}
		b.MarkSent()
		b.Return()
		if n := let(); n != 2 {
			t.Errorf("%d were released when two were sent", n)
		}
		time.Sleep(time.Second)
		if n := let(); n != 0 {
			t.Errorf("%d were released", n)
		}
		time.Sleep(time.Millisecond)
		if n := let(); n != 4 {
			t.Errorf("%d were released when the others were forgotten", n)
		}
		for range 10 {
			b.MarkSent()
		}
		if n := let(); n != 4 {
			t.Errorf("%d were released when all were sent", n)
		}
	})
}

// A queue whose handshakes are never sent goes on, if slowly.
func TestQueueGoesOnWithoutMarkSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(Options{Rate: 1000, Burst: 1, Queue: 100, QueueTimeout: time.Hour}, 1)
		for i := range 4 {
			h := s.newHandshake(i, 0)
			h.lost = true
			if !h.try(false) {
				if _, err := s.Enqueue(EntryOptions{Client: address(i)}, h); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(3100 * time.Millisecond)
		synctest.Wait()
		if s.Waiting() != 0 {
			t.Errorf("%d still wait", s.Waiting())
		}
	})
}
