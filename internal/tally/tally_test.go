package tally

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestCounts(t *testing.T) {
	var c Counts
	for i := range 5 {
		if got := c.Add(7, 3); got != (i < 3) {
			t.Errorf("Add %d is %v", i, got)
		}
	}
	if !c.Add(7+shards, 1) || c.Len() != 2 {
		t.Errorf("another key of the same shard shares its count; %d keys", c.Len())
	}
	if c.Remove(7); c.Add(7, 2) || !c.Add(7, 3) {
		t.Error("a smaller bound isn't kept, or a place that was given back isn't there")
	}
	for range 3 {
		c.Remove(7)
	}
	c.Remove(7 + shards)
	if c.Len() != 0 {
		t.Errorf("%d keys are remembered", c.Len())
	}
}

// The memory of a crowd is given back when it has gone.
func TestCountsShrink(t *testing.T) {
	var c Counts
	for key := range uint64(shards * 2 * worthKeeping) {
		c.Add(key, 1)
	}
	for key := range uint64(shards * 2 * worthKeeping) {
		c.Remove(key)
	}
	for i := range c.shards {
		if c.shards[i].of != nil {
			t.Fatal("a map that was large is kept")
		}
	}
}

func TestCountsConcurrently(t *testing.T) {
	var c Counts
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 5000 {
				if key := uint64(i % 100); c.Add(key, 3) {
					c.Remove(key)
				}
			}
		})
	}
	all.Wait()
	if c.Len() != 0 {
		t.Errorf("%d keys are remembered", c.Len())
	}
}

// In any time t, a bucket lets at most t/Every+Burst through, and as many as that if
// they come.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBuckets(shards)
		r := PerSecond(10, 20)
		for i := range 30 {
			wait := b.Take(1, r)
			if (wait == 0) != (i < 20) || wait > 100*time.Millisecond {
				t.Errorf("the %dth waits for %v", i, wait)
			}
		}
		time.Sleep(99 * time.Millisecond)
		if wait := b.Take(1, r); wait != time.Millisecond {
			t.Errorf("after 99 ms it waits for %v", wait)
		}
		time.Sleep(time.Millisecond)
		if b.Take(1, r) != 0 || b.Take(1, r) == 0 {
			t.Error("100 ms are worth one token")
		}
		if b.Take(2, r) != 0 {
			t.Error("another key has no tokens")
		}
		time.Sleep(time.Hour)
		n := 0
		for b.Take(1, r) == 0 {
			n++
		}
		if n != 20 {
			t.Errorf("a full bucket has %d tokens", n)
		}
		// Another rate holds at once.
		if wait := b.Take(1, PerSecond(1000, 5)); wait > time.Millisecond {
			t.Errorf("with a higher rate it waits for %v", wait)
		}
	})
}

// Whatever comes when, no more gets through than the rate allows, and a refused one
// that comes again after the time it was told gets through.
func TestRateAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{Every: time.Duration(rapid.Int64Range(1, 1e9).Draw(t, "every")), Burst: rapid.IntRange(1, 20).Draw(t, "burst")}
		var b Bucket
		now := time.Unix(1e9, 0)
		var taken []time.Time
		for _, pause := range rapid.SliceOfN(rapid.Int64Range(0, 3e9), 1, 60).Draw(t, "pauses") {
			now = now.Add(time.Duration(pause))
			if wait := b.Take(r, now); wait > 0 {
				if now = now.Add(wait); b.Take(r, now) > 0 {
					t.Fatalf("after %v it still waits", wait)
				}
			}
			taken = append(taken, now)
		}
		for i, from := range taken {
			for j := i; j < len(taken); j++ {
				if most := int64(taken[j].Sub(from)/r.Every) + int64(r.Burst); int64(j-i+1) > most {
					t.Fatalf("%d in %v, at most %d may be", j-i+1, taken[j].Sub(from), most)
				}
			}
		}
	})
}

// Buckets that are full again are forgotten, and those that are in use are not.
func TestFullBucketsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBuckets(1 << 20)
		r := PerSecond(10, 20)
		for key := range uint64(10_000) {
			b.Take(key, r)
		}
		if b.Len() != 10_000 {
			t.Fatalf("%d are remembered", b.Len())
		}
		for range 10 { // 1 s; the buckets of all others are full after 0.1 s
			time.Sleep(100 * time.Millisecond)
			for range 20 {
				for key := range uint64(shards) {
					b.Take(key, r)
				}
			}
		}
		if n := b.Len(); n > 2*shards {
			t.Errorf("%d are remembered", n)
		}
		if b.Take(0, r) == 0 {
			t.Error("a bucket in use was forgotten")
		}
	})
}

// A crowd of keys is bounded, and doesn't fill the bucket of one that keeps coming.
func TestManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 64 * shards
		b := NewBuckets(most)
		r := PerSecond(1.0/3600, 5)
		rng := rand.New(rand.NewPCG(1, 2))
		taken := 0
		for range 100 * most {
			b.Take(rng.Uint64(), r)
			if rng.IntN(20) == 0 && b.Take(1, r) == 0 {
				taken++
			}
		}
		if n := b.Len(); n > 2*most {
			t.Errorf("%d are remembered", n)
		}
		if taken != 5 {
			t.Errorf("the one that keeps coming got through %d times", taken)
		}
	})
}

// BenchmarkBuckets also shows what is remembered at most costs.
func BenchmarkBuckets(b *testing.B) {
	const keys = 1 << 17
	r := PerSecond(1.0/3600, 5)
	rng := rand.New(rand.NewPCG(1, 2))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	buckets := NewBuckets(keys)
	for range 4 * keys {
		buckets.Take(rng.Uint64(), r)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	known := make([]uint64, 1024)
	for i := range known {
		known[i] = rng.Uint64()
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		buckets.Take(known[i%len(known)], r)
		i++
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-at-most")
}
