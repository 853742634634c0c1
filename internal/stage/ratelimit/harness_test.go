package ratelimit

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// fixture is a limiter with backends, and a journal of its handshakes.
type fixture struct {
	*Limiter
	began time.Time

	mu       sync.Mutex // guards the following
	backends []*Bucket  // of the numbers 1, 2, ...
	passed   [][]time.Duration
	released []int // handshakes, in their order
	timeouts []int
	faults   []string
}

func newStage(o Options, backends int) *fixture {
	s := &fixture{Limiter: New(Hooks{}), began: time.Now(), passed: make([][]time.Duration, backends)}
	s.Configure(o)
	for i := range backends {
		s.backends = append(s.backends, s.Bucket(uint32(i+1), nil))
	}
	return s
}

// handshake implements Handshake.
type handshake struct {
	*fixture
	number int
	want   uint32 // or any
	got    int    // the backend's index; -1 is none
	over   bool
	lost   bool // nobody tells that it was sent
}

// try takes a backend, as the spine does.
func (h *handshake) try(queued bool) bool {
	h.mu.Lock()
	backends := slices.Clone(h.backends)
	h.mu.Unlock()
	for i, b := range backends {
		if (h.want == 0 || h.want == uint32(i+1)) && b.TryTake(queued) {
			h.got = i
			h.mu.Lock()
			h.passed[i] = append(h.passed[i], time.Since(h.began))
			h.mu.Unlock()
			return true
		}
	}
	return false
}

func (h *handshake) TryStart() bool {
	if h.got >= 0 {
		h.fault("handshake %d was asked to start twice", h.number)
	}
	return h.try(true)
}

func (h *handshake) Start() {
	if h.got >= 0 && !h.lost {
		h.mu.Lock()
		b := h.backends[h.got]
		h.mu.Unlock()
		b.MarkSent()
	}
	h.end(&h.released)
}
func (h *handshake) TimedOut() { h.end(&h.timeouts) }

func (h *handshake) end(list *[]int) {
	h.mu.Lock()
	*list = append(*list, h.number)
	over := h.over
	h.over = true
	h.mu.Unlock()
	if over {
		h.fault("handshake %d was notified of its end twice", h.number)
	}
}

func (s *fixture) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *fixture) newHandshake(number int, want uint32) *handshake {
	return &handshake{fixture: s, number: number, want: want, got: -1}
}

// end releases all that still wait.
func (s *fixture) end() {
	s.Close()
	synctest.Wait()
}

// address is that of the i-th client.
func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// check reports the faults in the journal, and windows in which a backend got more
// than its rate allows.
func (s *fixture) check(t rapid.TB, o Options) {
	t.Helper()
	for _, f := range s.faults {
		t.Errorf("%s", f)
	}
	for i, at := range s.passed {
		for first := range at {
			for last := first; last < len(at); last++ {
				most := o.Rate*(at[last]-at[first]).Seconds() + float64(o.Burst)
				if n := last - first + 1; float64(n) > most+1e-6 {
					t.Fatalf("backend %d got %d handshakes in %v, want %.2f at most (%+v)", i, n, at[last]-at[first], most, o)
				}
			}
		}
	}
}

// bubble runs f with virtual time for each draw.
func bubble(t *testing.T, f func(t *rapid.T)) {
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(*testing.T) {
			defer func() { failed = recover() }()
			f(rt)
		})
		// rapid tells a failure from an invalid draw by where it panics.
		switch fmt.Sprintf("%T", failed) {
		case "<nil>":
		case "rapid.invalidData":
			panic(failed)
		default:
			rt.Fatalf("%v", failed)
		}
	})
}

var someOptions = rapid.Custom(func(t *rapid.T) Options {
	return Options{
		Rate:         rapid.SampledFrom([]float64{0.5, 3, 10, 200, 333.3}).Draw(t, "rate"),
		Burst:        rapid.IntRange(1, 20).Draw(t, "burst"),
		Queue:        rapid.SampledFrom([]int{0, 1, 20, 200}).Draw(t, "queue"),
		QueueTimeout: rapid.SampledFrom([]time.Duration{10 * time.Millisecond, time.Second, 30 * time.Second}).Draw(t, "timeout"),
	}
})
