package admit

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// passes counts the handshakes that pass in d, when one is tried every ms.
func passes(b *Bucket, d time.Duration) (n int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for b.TryPass(false) {
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
		b := p.Backend(1, func() time.Time { return risen })
		if n := passes(b, time.Second); n < 106 || n > 108 {
			t.Errorf("%d in a second of one that has not started of late", n)
		}
		risen = time.Now()
		for second, want := range []float64{14.5, 23.5, 32.5, 41.5, 50.5, 59.5, 68.5, 77.5, 86.5, 95.5, 100, 100} {
			if n := passes(b, time.Second); math.Abs(float64(n)-want) > 2 {
				t.Errorf("%d in second %d after the start, want %v", n, second, want)
			}
		}
		// What it has saved up is cut when it starts anew.
		time.Sleep(time.Second)
		risen = time.Now()
		if n := passes(b, time.Millisecond); n != 1 {
			t.Errorf("%d at the start", n)
		}
		risen = time.Now().Add(time.Hour)
		if got := b.Pace(); got != 1 {
			t.Errorf("part %v of one that will start", got)
		}
	})
}

func TestPaceFallsAndRises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Hooks{})
		p.Configure(Options{Rate: 100, Burst: 10})
		b := p.Backend(1, nil)
		near := func(want float64) {
			t.Helper()
			if got := b.Pace(); math.Abs(got-want) > 0.001 {
				t.Errorf("pace %.3f, want %.3f", got, want)
			}
		}
		bad := func() { b.Done(time.Millisecond, false) }
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
		near(least)
		time.Sleep(time.Second / 2)
		near(least + 0.05)
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
			b := p.Backend(1, nil)
			for i := range 200 {
				took := c.usual * time.Duration(90+i%21) / 100
				b.Done(took, true)
				time.Sleep(5 * time.Millisecond)
			}
			if got := b.Pace(); got != 1 {
				t.Errorf("%s: pace %v while nothing changes", c.name, got)
			}
			b.Done(c.then, true)
			if got := b.Pace(); (got < 1) != c.falls {
				t.Errorf("%s: pace %v", c.name, got)
			}
		})
	}
}

// What has become the usual thing is not slow any more, after a while that
// doesn't depend on how many handshakes there are.
func TestSlowBecomesUsual(t *testing.T) {
	for _, every := range []time.Duration{2 * time.Millisecond, 200 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			p := New(Hooks{})
			p.Configure(Options{Rate: 100, Burst: 10})
			b := p.Backend(1, nil)
			run := func(took, d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
					b.Done(took, true)
				}
			}
			run(100*time.Millisecond, 10*time.Second)
			run(300*time.Millisecond, 5*time.Second)
			if got := b.Pace(); got > 0.5 {
				t.Errorf("every %v: pace %v while it is slow", every, got)
			}
			run(300*time.Millisecond, 40*time.Second)
			if got := b.Pace(); got != 1 {
				t.Errorf("every %v: pace %v when that is what it takes", every, got)
			}
		})
	}
}

// usual stays near the median of any times.
func TestUsualIsTheMedian(t *testing.T) {
	bubble(t, func(t *rapid.T) {
		low := rapid.IntRange(1, 500).Draw(t, "low")
		high := low * rapid.IntRange(2, 50).Draw(t, "times")
		few := rapid.IntRange(0, 30).Draw(t, "percent of the high")
		p := newPace()
		for i := range 1000 {
			took := low
			if i*7919%100 < few {
				took = high
			}
			p.done(time.Now(), time.Duration(took)*time.Millisecond, true)
			time.Sleep(20 * time.Millisecond)
		}
		if got, want := p.usual, float64(low)/1000; math.Abs(got/want-1) > 0.1 {
			t.Fatalf("usual is %.4f, the median %.4f", got, want)
		}
	})
}

// Those that were let go and held up on their way are no more than a fifth of
// the burst, and those that are never heard of are forgotten.
func TestHeldUpOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Hooks{})
		p.Configure(Options{Rate: 1000, Burst: 20})
		b := p.Backend(1, nil)
		let := func() (n int) {
			for b.TryPass(true) {
				n++
			}
			return n
		}
		if n := let(); n != 4 || b.Ready(true) || !b.TryPass(false) {
			t.Errorf("%d were let go", n)
		}
		b.Sent()
		b.Return()
		if n := let(); n != 2 {
			t.Errorf("%d were let go as two were sent", n)
		}
		time.Sleep(time.Second)
		if n := let(); n != 0 {
			t.Errorf("%d were let go", n)
		}
		time.Sleep(time.Millisecond)
		if n := let(); n != 4 {
			t.Errorf("%d were let go when the others were forgotten", n)
		}
		for range 10 {
			b.Sent()
		}
		if n := let(); n != 4 {
			t.Errorf("%d were let go when all were sent", n)
		}
	})
}

// A queue goes on where its handshakes are never heard of, if slowly.
func TestQueueOutlivesTheLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(Options{Rate: 1000, Burst: 1, Queue: 100, QueueTimeout: time.Hour}, 1)
		for i := range 4 {
			h := s.hello(i, 0)
			h.lost = true
			if !h.try(false) {
				if _, err := s.Enqueue(Place{Client: address(i)}, h); err != nil {
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
