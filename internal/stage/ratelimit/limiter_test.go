package ratelimit

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever comes, no backend ever gets more than its rate allows, each handshake
// that waits is notified once, in time, and none is left.
func TestRateHoldsAndAllAreNotified(t *testing.T) {
	bubble(t, func(t *rapid.T) {
		o := someOptions.Draw(t, "options")
		s := newStage(o, rapid.IntRange(1, 3).Draw(t, "backends"))
		defer s.end()
		ramping := time.Now().Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "risen"))
		for _, b := range s.backends {
			b.upSince = func() time.Time { return ramping }
		}
		o.Ramp = rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "ramp")
		s.Configure(o)
		type place struct {
			*Entry
			number int
		}
		var waiting []place
		waited, left := map[int]time.Time{}, map[int]bool{}
		for number := range rapid.IntRange(1, 150).Draw(t, "handshakes") {
			time.Sleep(rapid.SampledFrom([]time.Duration{0, 0, 0, time.Millisecond, 70 * time.Millisecond, 3 * time.Second}).Draw(t, "pause"))
			h := s.newHandshake(number, uint32(rapid.IntRange(0, len(s.backends)).Draw(t, "want")))
			switch action := rapid.IntRange(0, 9).Draw(t, "action"); {
			case action == 0 && len(waiting) > 0:
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				if waiting[i].Leave() {
					left[waiting[i].number] = true
				}
				if waiting[i].Leave() {
					t.Fatalf("%d left twice", waiting[i].number)
				}
				waiting = slices.Delete(waiting, i, i+1)
			case action == 1:
				s.backends[rapid.IntRange(0, len(s.backends)-1).Draw(t, "of")].Observe(
					rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second}).Draw(t, "took"), rapid.Bool().Draw(t, "ok"))
			case !h.try(false):
				at := EntryOptions{Client: address(rapid.IntRange(0, 4).Draw(t, "client")), Backend: h.want}
				if rapid.IntRange(0, 9).Draw(t, "again") == 0 {
					at.Since = time.Now().Add(-time.Duration(rapid.IntRange(1, 2000).Draw(t, "ago")) * time.Millisecond)
				}
				w, err := s.Enqueue(at, h)
				if err == nil {
					waiting, waited[number] = append(waiting, place{w, number}), time.Now()
				} else if got := s.Waiting(); errors.Is(err, ErrQueueFull) != (got >= o.Queue) || errors.Is(err, ErrAddressFull) && got < 16 {
					t.Fatalf("%v with %d waiting of %+v", err, got, o)
				}
			}
		}
		time.Sleep(o.QueueTimeout + time.Millisecond)
		synctest.Wait()
		if n := s.Waiting(); n != 0 || s.waitingForAny.Load() != 0 || len(s.queue.backends)+len(s.queue.byClient) != 0 || s.queue.deadlines != (list[Entry]{}) {
			t.Fatalf("%d are left: %+v", n, s.queue)
		}
		for i, b := range s.backends {
			if n := b.waiting.Load(); n != 0 {
				t.Fatalf("%d are left for backend %d", n, i)
			}
			if p := b.RateFactor(); p < minFactor*rampStart || p > 1 {
				t.Fatalf("factor %v", p)
			}
		}
		told := append(slices.Clone(s.released), s.timeouts...)
		for number := range waited {
			if n := count(told, number); n != 1 && !left[number] || n != 0 && left[number] {
				t.Fatalf("%d was notified %d times, left: %v", number, n, left[number])
			}
		}
		if len(told)+len(left) != len(waited) {
			t.Fatalf("%d waited, %d were notified, %d left", len(waited), len(told), len(left))
		}
		s.check(t, o)
	})
}

func count(list []int, n int) (times int) {
	for _, x := range list {
		if x == n {
			times++
		}
	}
	return times
}

// Addresses take turns, and the handshakes of each keep their order.
func TestOrder(t *testing.T) {
	bubble(t, func(t *rapid.T) {
		s := newStage(Options{Rate: 10, Burst: 1, Queue: 1000, QueueTimeout: time.Hour}, 1)
		defer s.end()
		s.newHandshake(-1, 0).try(false)
		var lanes [][]int // of the model: whose turn is next stands first
		clients := map[int]int{}
		waiters := map[int]*Entry{}
		number := 0
		var want []int
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // a tenth of a second: one goes
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if len(lanes) == 0 {
					s.newHandshake(-1, 0).try(false) // so that no token is left
					continue
				}
				lane := lanes[0]
				lanes = lanes[1:]
				want = append(want, lane[0])
				if lane = lane[1:]; len(lane) > 0 {
					lanes = append(lanes, lane)
				}
			case 1: // somebody leaves
				if len(lanes) > 0 {
					i := rapid.IntRange(0, len(lanes)-1).Draw(t, "lane")
					j := rapid.IntRange(0, len(lanes[i])-1).Draw(t, "place")
					if !waiters[lanes[i][j]].Leave() {
						t.Fatalf("%d was gone", lanes[i][j])
					}
					if lanes[i] = slices.Delete(lanes[i], j, j+1); len(lanes[i]) == 0 {
						lanes = slices.Delete(lanes, i, i+1)
					}
				}
			default:
				client := rapid.IntRange(0, 3).Draw(t, "client")
				clients[number] = client
				w, err := s.Enqueue(EntryOptions{Client: address(client)}, s.newHandshake(number, 0))
				if err != nil {
					t.Fatal(err)
				}
				waiters[number] = w
				i := slices.IndexFunc(lanes, func(lane []int) bool { return clients[lane[0]] == client })
				if i < 0 {
					i, lanes = len(lanes), append(lanes, nil)
				}
				lanes[i] = append(lanes[i], number)
				number++
			}
		}
		if !slices.Equal(s.released, want) {
			t.Fatalf("released %v, want %v", s.released, want)
		}
	})
}

// A storm is served as fast as the rate allows, and no faster.
func TestStormIsServedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Rate: 200, Burst: 50, Queue: 5000, QueueTimeout: 30 * time.Second}
		var begun atomic.Int32
		s := newStage(o, 1)
		s.hooks = Hooks{Begin: func() { begun.Add(1) }, End: func() { begun.Add(-1) }}
		for i := range 5000 {
			if h := s.newHandshake(i, 0); !h.try(false) {
				if _, err := s.Enqueue(EntryOptions{Client: address(i)}, h); err != nil {
					t.Fatal(err)
				}
			}
		}
		if begun.Load() != 1 {
			t.Errorf("Begin and End differ by %d while some wait", begun.Load())
		}
		time.Sleep(24800 * time.Millisecond)
		synctest.Wait()
		if n := s.Waiting(); n > 1 || int(begun.Load()) != n {
			t.Errorf("%d still wait after the time it takes", n)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if len(s.released) != 4960 || !slices.IsSorted(s.released) || s.Queued() != 4960 || begun.Load() != 0 {
			t.Errorf("%d were released of %d, in order: %v", len(s.released), s.Queued(), slices.IsSorted(s.released))
		}
		s.passed[0] = s.passed[0][:1000] // enough to look at every window of
		s.check(t, o)
	})
}

// No newcomer overtakes those who wait for the same backend.
func TestNewcomersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(Options{Rate: 1, Burst: 1, Queue: 100, QueueTimeout: time.Hour}, 2)
		pass := func(want uint32) bool { return s.newHandshake(-1, want).try(false) }
		enqueue := func(n int, want uint32) {
			t.Helper()
			if _, err := s.Enqueue(EntryOptions{Client: address(n), Backend: want}, s.newHandshake(n, want)); err != nil {
				t.Fatal(err)
			}
		}
		if !pass(1) || pass(1) || s.backends[0].CanTake(false) || !s.backends[1].CanTake(false) {
			t.Fatal("the first is to take the only token of backend 1")
		}
		enqueue(0, 1)
		enqueue(1, 1)
		if !pass(2) {
			t.Error("who waits for 1 keeps others from 2")
		}
		time.Sleep(1001 * time.Millisecond) // one of each
		synctest.Wait()
		if pass(1) || !pass(2) || !slices.Equal(s.released, []int{0}) {
			t.Errorf("released %v", s.released)
		}
		enqueue(2, 0)
		time.Sleep(1001 * time.Millisecond) // 1 goes to backend 1, 2 to backend 2
		synctest.Wait()
		if !slices.Equal(s.released, []int{0, 1, 2}) || pass(0) {
			t.Errorf("released %v", s.released)
		}
		// A handshake that waits for any backend holds back newcomers to all.
		enqueue(3, 0)
		enqueue(4, 0)
		enqueue(5, 0)
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		if pass(1) || pass(2) || !slices.Equal(s.released, []int{0, 1, 2, 3, 4}) {
			t.Errorf("released %v", s.released)
		}
		s.Close()
		synctest.Wait()
	})
}

// A handshake that has waited before comes first, and its time goes on.
func TestSinceKeepsThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(Options{Rate: 1, Burst: 1, Queue: 1, QueueTimeout: 3 * time.Second}, 1)
		s.newHandshake(-1, 0).try(false)
		since := time.Now().Add(-1500 * time.Millisecond)
		for i, at := range []EntryOptions{{}, {Since: since}, {Since: since.Add(-time.Second)}, {Since: since}} {
			if _, err := s.Enqueue(at, s.newHandshake(i, 0)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if !slices.Equal(s.released, []int{3, 0}) || !slices.Equal(s.timeouts, []int{2, 1}) {
			t.Errorf("released %v, timeouts %v", s.released, s.timeouts)
		}
	})
}

func TestClientLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(Options{Rate: 0.001, Burst: 1, Queue: 160, QueueTimeout: time.Minute}, 1)
		s.newHandshake(-1, 0).try(false)
		enter := func(client string) error {
			_, err := s.Enqueue(EntryOptions{Client: netip.MustParseAddr(client)}, s.newHandshake(0, 0))
			return err
		}
		for i := range 21 {
			want := error(nil)
			if i == 20 {
				want = ErrAddressFull
			}
			for _, client := range []string{"192.0.2.1", "2001:db8:0:1::1"} {
				if err := enter(client); err != want {
					t.Fatalf("%d of %s: %v", i, client, err)
				}
			}
		}
		for client, want := range map[string]error{
			"::ffff:192.0.2.1": ErrAddressFull, "2001:db8:0:1:2::3%eth0": ErrAddressFull, "192.0.2.2": nil, "2001:db8:0:2::": nil,
		} {
			if err := enter(client); err != want {
				t.Errorf("%s: %v, want %v", client, err, want)
			}
		}
		for i := range 118 {
			enter(address(i).String())
		}
		if err := enter("192.0.2.1"); err != ErrQueueFull {
			t.Errorf("%v, want the queue to be full", err)
		}
		s.Close()
		synctest.Wait()
		if len(s.released) != 160 || len(s.timeouts) != 0 {
			t.Errorf("%d were released, %d timed out", len(s.released), len(s.timeouts))
		}
		if err := enter("192.0.2.9"); err != ErrClosed {
			t.Errorf("%v, want ErrClosed", err)
		}
	})
}

func TestConfigureAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Rate: 0.001, Burst: 1, Queue: 100, QueueTimeout: time.Hour}
		s := newStage(o, 2)
		for i := range 4 {
			h := s.newHandshake(i, uint32(i%2+1))
			if !h.try(false) {
				if _, err := s.Enqueue(EntryOptions{Backend: h.want}, h); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		if s.Bucket(1, nil) != s.backends[0] {
			t.Error("the bucket is another")
		}
		s.Forget(1)
		again := s.Bucket(1, nil)
		s.mu.Lock()
		s.backends[0] = again
		s.mu.Unlock()
		time.Sleep(2 * retryInterval)
		synctest.Wait()
		if !slices.Equal(s.released, []int{2}) {
			t.Errorf("released %v, want the one that waited for the forgotten backend", s.released)
		}
		o.Rate = 1000
		s.Configure(o)
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if !slices.Equal(s.released, []int{2, 3}) {
			t.Errorf("released %v after the rate was raised", s.released)
		}
		o.Rate = 0.001
		s.Configure(o)
		for n := 10; n < 12; {
			h := s.newHandshake(n, 2)
			if !h.try(false) {
				s.Enqueue(EntryOptions{Backend: 2}, h)
				n++
			}
		}
		s.Configure(Options{})
		synctest.Wait()
		if !slices.Equal(s.released, []int{2, 3, 10, 11}) || !s.newHandshake(-1, 2).try(false) || !s.backends[1].CanTake(false) {
			t.Errorf("released %v after the bound was taken away", s.released)
		}
	})
}

// A token that is returned can be taken by others.
func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(Options{Rate: 0.001, Burst: 2, Queue: 100, QueueTimeout: time.Hour}, 1)
		b := s.backends[0]
		for range 5 {
			b.Return()
		}
		for i, want := range []bool{true, true, false} {
			if b.TryTake(false) != want {
				t.Errorf("the %dth is wrong", i)
			}
		}
		b.Return()
		if !b.TryTake(false) || b.TryTake(false) {
			t.Error("the token that came back passes one")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for timeout, want := range map[time.Duration][2]time.Duration{
		0: {time.Second, time.Second}, 4 * time.Second: {2 * time.Second, 6 * time.Second},
		time.Minute: {30 * time.Second, time.Minute}, time.Second: {time.Second, 1500 * time.Millisecond},
	} {
		p := New(Hooks{})
		p.Configure(Options{Rate: 1, QueueTimeout: timeout})
		least, most := time.Hour, time.Duration(0)
		for range 2000 {
			d := p.RetryAfter()
			least, most = min(least, d), max(most, d)
		}
		width := want[1] - want[0]
		if least < want[0] || most > want[1] || most-least < width*9/10 {
			t.Errorf("with %v, from %v to %v, want %v", timeout, least, most, want)
		}
	}
}

// Leave at any moment, from other goroutines, leaves each handshake with exactly
// one end.
func TestLeaveRacesWithStart(t *testing.T) {
	s := newStage(Options{Rate: 1e5, Burst: 10, Queue: 1e6, QueueTimeout: 5 * time.Millisecond}, 2)
	var left atomic.Int64
	var waited atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 3000 {
				h := s.newHandshake(g*3000+i, uint32(rng.IntN(3)))
				if h.try(false) {
					continue
				}
				w, err := s.Enqueue(EntryOptions{Client: address(rng.IntN(100)), Backend: h.want}, h)
				if err != nil {
					continue
				}
				waited.Add(1)
				if rng.IntN(2) == 0 {
					time.Sleep(time.Duration(rng.IntN(50)) * time.Microsecond)
					if w.Leave() {
						left.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	for end := time.Now().Add(10 * time.Second); s.Waiting() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	for over := false; !over; { // its last calls come a moment later
		s.Limiter.mu.Lock()
		over = !s.running
		s.Limiter.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.released) + len(s.timeouts) + int(left.Load()); n != int(waited.Load()) || left.Load() == 0 {
		t.Errorf("%d waited; %d were released, %d timed out, %d left", waited.Load(), len(s.released), len(s.timeouts), left.Load())
	}
	for _, f := range s.faults {
		t.Error(f)
	}
}

// The queue's goroutine ends with the last handshake, however that left.
func TestNothingRunsWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(Options{Rate: 0.001, Burst: 1, Queue: 10, QueueTimeout: time.Hour}, 1)
		s.newHandshake(-1, 0).try(false)
		var all []*Entry
		for i := range 3 {
			w, err := s.Enqueue(EntryOptions{Client: address(i)}, s.newHandshake(i, 0))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, w)
		}
		synctest.Wait()
		for i, w := range all {
			w.Leave()
			synctest.Wait()
			s.Limiter.mu.Lock()
			if s.running != (i < 2) {
				t.Errorf("running is %v with %d waiting", s.running, s.queue.waiting)
			}
			s.Limiter.mu.Unlock()
		}
	})
}
