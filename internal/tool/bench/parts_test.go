package bench

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTracker compares tracker with the definition of each verdict.
func TestTracker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tr tracker
		seen := map[uint32]bool{}
		for _, seq := range rapid.SliceOfN(rapid.Uint32Range(0, 40), 0, 80).Draw(t, "seqs") {
			want := inOrder
			switch {
			case seen[seq]:
				want = duplicate
			case len(seen) > 0 && slices.Max(slices.Collect(maps.Keys(seen))) > seq:
				want = reordered
			}
			if got := tr.take(seq); got != want {
				t.Fatalf("take(%d) = %d after %v, want %d", seq, got, seen, want)
			}
			seen[seq] = true
		}
		if got := tr.outstanding(50); got != 50-len(seen) {
			t.Fatalf("outstanding = %d with %d of 50 seen", got, len(seen))
		}
	})
}

// Messages can be parsed again, but not if they are changed in any way.
func TestCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Bool().Draw(t, "text")
		c := newCodec(rapid.OneOf(rapid.IntRange(MinTextSize, 200), rapid.IntRange(8000, 20000)).Draw(t, "size"), text)
		m := message{
			rapid.Uint32().Draw(t, "window"), rapid.Uint32().Draw(t, "sender"), rapid.Uint32().Draw(t, "seq"),
			time.Duration(rapid.Int64Min(0).Draw(t, "due")),
		}
		p := c.append(nil, m)
		if len(p) != c.size {
			t.Fatalf("%d bytes, want %d", len(p), c.size)
		}
		if got, ok := c.parse(c.op(), p); !ok || got != m {
			t.Fatalf("parse = %+v, %v, want %+v", got, ok, m)
		}
		if _, ok := c.parse(c.op()^frame.OpText^frame.OpBinary, p); ok {
			t.Fatal("the other kind of message was taken")
		}
		if _, ok := c.parse(c.op(), p[:len(p)-1]); ok {
			t.Fatal("a cut message was taken")
		}
		other := newCodec(c.size, text)
		other.run = [4]byte{c.run[0] + 1}
		if _, ok := other.parse(c.op(), p); ok {
			t.Fatal("another run's message was taken")
		}
		bad := bytes.Clone(p)
		bad[rapid.IntRange(0, len(p)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 4).Draw(t, "bit")
		if _, ok := c.parse(c.op(), bad); ok {
			t.Fatal("a changed message was accepted")
		}
	})
}

// TestSearch finds the capacity of a simulated machine with random stalls.
func TestSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.Float64Range(10, 1e6).Draw(t, "capacity")
		s := newSearch(rapid.Float64Range(10, 1e5).Draw(t, "start"))
		stalls := 0 // consecutive
		for !s.done() {
			sustained := s.rate <= capacity
			if sustained && stalls < maxFailures && rapid.IntRange(0, 5).Draw(t, "stall") == 0 {
				stalls++
				sustained = false
			} else {
				stalls = 0
			}
			s.result(sustained)
		}
		if s.low > capacity || s.low < capacity/math.Pow(2, 1.0/(1<<refinements))*0.999 {
			t.Fatalf("found %v of %v in %d trials", s.low, capacity, s.tried)
		}
	})
}

func TestSearchEnds(t *testing.T) {
	for _, sustained := range []bool{false, true} {
		s := newSearch(1000)
		for i := 0; !s.done(); i++ {
			if i > maxTrials {
				t.Fatalf("still at %v/s", s.rate)
			}
			s.result(sustained)
		}
		if !sustained && s.low != 0 {
			t.Errorf("found %v, but nothing is sustained", s.low)
		}
	}
}

func TestLimited(t *testing.T) {
	for _, c := range []struct {
		trials []Trial
		low    float64
		want   bool
	}{
		{[]Trial{{Rate: 10, Sustained: true}, {Rate: 20}, {Rate: 20}}, 10, false},
		{[]Trial{{Rate: 10, Sustained: true}, {Rate: 20, Late: true}, {Rate: 20, Late: true}}, 10, true},
		{[]Trial{{Rate: 10, Sustained: true}, {Rate: 20, Late: true}, {Rate: 20}}, 10, false},
		{[]Trial{{Rate: 40, Late: true}, {Rate: 20}, {Rate: 10, Sustained: true}}, 10, false},
		{nil, 0, false},
	} {
		if got := limited(c.trials, c.low); got != c.want {
			t.Errorf("limited(%v, %v) = %v", c.trials, c.low, got)
		}
	}
}

func TestDifferences(t *testing.T) {
	at := func(d time.Duration) histogram.Summary { return histogram.Summary{Count: 1, P50: d, P99: 2 * d} }
	got := differences("message", [][2]histogram.Summary{{at(10), at(40)}, {at(10), at(15)}, {at(10), at(20)}, {at(10), {}}})
	if len(got) != 4 || got[0] != (Added{"message", "p50", 10, 5, 30, 3}) || got[2] != (Added{"message", "p99", 20, 10, 60, 3}) {
		t.Errorf("got %+v", got)
	}
	if got := differences("message", nil); got != nil {
		t.Errorf("of no rounds: %+v", got)
	}
}

func TestBottleneck(t *testing.T) {
	ok := Result{Sent: 1000, AskedRate: 100, SentRate: 100, BusyCPUs: 0.5}
	for what, change := range map[string]func(*Result){
		"sent over 5 ms late": func(r *Result) { r.Late = 11 },
		"less than 98 %":      func(r *Result) { r.SentRate = 97 },
		"CPUs busy":           func(r *Result) { r.BusyCPUs = 1.9 },
	} {
		bad := ok
		change(&bad)
		if got := bad.bottleneck(2, false); !bytes.Contains([]byte(got), []byte(what)) {
			t.Errorf("got %q, want %q", got, what)
		}
	}
	if got := ok.bottleneck(2, false); got != "" {
		t.Errorf("no bottleneck: %q", got)
	}
	few := Result{Sent: 40, Late: 1, AskedRate: 10, SentRate: 10}
	if got := few.bottleneck(2, false); got != "" {
		t.Errorf("one of few was late: %q", got)
	}
}
