package rebalance_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
)

// fixture is a Rebalancer with an engine that carries out requests at once.
type fixture struct {
	*rebalance.Rebalancer
	registry *pool.Registry

	mu       sync.Mutex // guards the following
	pools    []rebalance.Target
	sessions []session.Info // the oldest first
	orders   []rebalance.Request
	looks    int // calls of Pools
	walks    int // calls of Leaving
	move     func(session.Info) bool
	log      bytes.Buffer
}

func newRig(t *testing.T) *fixture {
	r := &fixture{registry: pool.New(pool.Options{}), move: func(session.Info) bool { return true }}
	t.Cleanup(r.registry.Close)
	return r
}

// start makes a pool of backends a, b, ... with these numbers of sessions, each a
// second older than the next.
func (r *fixture) start(t *testing.T, rules rebalance.Rules, minAge time.Duration, sessions ...int) {
	spec := pool.Spec{Name: "chat"}
	for i := range sessions {
		spec.Backends = append(spec.Backends, pool.BackendSpec{Name: string(rune('a' + i)), Address: fmt.Sprintf("10.0.0.%d:80", i+1)})
	}
	pools, _ := r.registry.Apply([]pool.Spec{spec})
	p := rebalance.Target{Name: "chat", Members: pools["chat"].Members, Rules: rules, MinAge: minAge}
	at := time.Now().Add(-time.Hour)
	for i, n := range sessions {
		b := p.Members[i].Backend
		for range n {
			b.TryAcquire()
			at = at.Add(time.Second)
			r.sessions = append(r.sessions, session.Info{ID: session.NewID(), Backend: b.ID, Started: at})
		}
	}
	r.Rebalancer = rebalance.New(rebalance.Options{
		Log: slog.New(slog.NewTextHandler(r, nil)), Pools: r.look, Leaving: r.leaving, Give: r.give,
	})
	t.Cleanup(r.Close)
	synctest.Wait()
	r.change(func() { r.pools = []rebalance.Target{p} })
	r.PoolsChanged()
}

// Write implements the log's io.Writer.
func (r *fixture) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *fixture) now() []rebalance.Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pools)
}

func (r *fixture) look() []rebalance.Target {
	r.change(func() { r.looks++ })
	return r.now()
}

func (r *fixture) leaving() map[uint32]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.walks++
	return map[uint32]int{}
}

// give moves the oldest sessions to the least loaded.
func (r *fixture) give(g rebalance.Request) (n int) {
	r.mu.Lock()
	r.orders = append(r.orders, g)
	members := r.pools[0].Members
	var failed []session.Info
	left := map[uint32]int{}
	for i := range r.sessions {
		s := &r.sessions[i]
		if left[s.Backend] == g.Most[s.Backend] || !g.Select(*s) {
			continue
		}
		left[s.Backend]++
		n++
		if !r.move(*s) {
			failed = append(failed, *s)
			continue
		}
		to := slices.MinFunc(members, func(a, b pool.Member) int { return a.Backend.Sessions() - b.Backend.Sessions() })
		to.Backend.TryAcquire()
		r.registry.Backend(s.Backend).Release()
		s.Backend = to.Backend.ID
	}
	r.mu.Unlock()
	for _, s := range failed {
		r.MoveFailed(s)
	}
	return n
}

func (r *fixture) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *fixture) numbers() (n []int) {
	for _, m := range r.now()[0].Members {
		n = append(n, m.Backend.Sessions())
	}
	return n
}

func (r *fixture) wantLog(t *testing.T, words ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.log.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return
		}
	}
	t.Errorf("no line with %q in the log:\n%s", words, &r.log)
}

func TestRebalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t, rebalance.Rules{Above: .1, Rate: 4}, 0, 30, 30, 0)
		time.Sleep(1600 * time.Millisecond)
		if s, got := r.States()["chat"], r.numbers(); !s.Active || s.Given != 12 || !slices.Equal(got, []int{24, 24, 12}) {
			t.Errorf("after three steps: %+v, %v", s, got)
		}
		r.wantLog(t, "a pool is being rebalanced", "excess=20", `fullest="a: 30"`, `emptiest="c: 0"`)
		time.Sleep(10 * time.Second)
		if got := r.numbers(); !slices.Equal(got, []int{20, 20, 20}) {
			t.Errorf("it came to %v", got)
		}
		r.wantLog(t, "a pool is even again", "given=20", "after=")
		if s := r.States()["chat"]; s.Active || s.Given != 20 {
			t.Errorf("in the end: %+v", s)
		}
		// While all is even, Leaving isn't called.
		before := r.walks
		time.Sleep(time.Hour)
		if r.walks != before {
			t.Error("sessions are counted while there is nothing to do")
		}
		r.change(func() { r.pools = nil })
		time.Sleep(time.Second)
		if n := len(r.States()); n != 0 {
			t.Errorf("%d pools are left when none has rebalance any more", n)
		}
	})
}

// While there is no pool to rebalance, only PoolsChanged wakes it.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t, rebalance.Rules{Above: .1, Rate: 10}, 0, 20, 0)
		pools := r.now()
		for range 2 {
			r.change(func() { r.pools = nil })
			r.PoolsChanged()
			synctest.Wait()
			if n := len(r.States()); n != 0 {
				t.Errorf("it still has %d planners", n)
			}
			before := r.looks
			time.Sleep(1000 * time.Hour)
			if n := r.looks - before; n != 0 {
				t.Errorf("it woke %d times with nothing to do", n)
			}
			r.change(func() { r.pools = pools })
			r.PoolsChanged()
			time.Sleep(5 * time.Second)
		}
		if got := r.numbers(); !slices.Equal(got, []int{10, 10}) {
			t.Errorf("it came to %v", got)
		}
	})
}

// Sessions that can't be moved are not tried again before all others were. They
// count as given away, so there is a rest before more are tried.
func TestFailedMovesGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		tried := map[session.ID]int{}
		r.move = func(i session.Info) bool {
			tried[i.ID]++
			return len(tried) > 10 // not the ten oldest
		}
		r.start(t, rebalance.Rules{Above: .1, Rate: 10}, 0, 40, 0)
		time.Sleep(30 * time.Second)
		if got := r.numbers(); !slices.Equal(got, []int{30, 10}) {
			t.Errorf("it came to %v", got)
		}
		r.wantLog(t, "a pool stays uneven", "for=1m0s")
		time.Sleep(time.Minute)
		if got := r.numbers(); !slices.Equal(got, []int{20, 20}) {
			t.Errorf("it came to %v", got)
		}
		for i, s := range r.sessions {
			if n := tried[s.ID]; n > 1 || (n > 0) != (i < 30) {
				t.Errorf("session %d was tried %d times", i, n)
			}
		}
	})
}

// Sessions younger than min_age stay, and are given away when they are old enough.
func TestMinAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t, rebalance.Rules{Above: .1, Rate: 10}, time.Hour+time.Minute, 20, 0) // the oldest is an hour old
		time.Sleep(time.Minute)
		if got := r.numbers(); got[1] > 0 {
			t.Errorf("%v: sessions are moved that are too young", got)
		}
		r.wantLog(t, "no session can be given away at the moment", "min_age=1h1m0s")
		time.Sleep(2 * time.Minute)
		if got := r.numbers(); !slices.Equal(got, []int{10, 10}) {
			t.Errorf("it came to %v", got)
		}
		for _, g := range r.orders {
			if g.Select(session.Info{Backend: r.sessions[0].Backend, Started: time.Now()}) {
				t.Error("a session is selected that has just begun")
			}
		}
	})
}

// While handshakes wait, nothing is given away.
func TestPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(t, rebalance.Rules{Above: .1, Rate: 10}, 0, 20, 0)
		r.change(func() { r.pools[0].Paused = true })
		time.Sleep(time.Minute)
		if got := r.numbers(); got[1] > 0 {
			t.Errorf("it came to %v", got)
		}
		r.change(func() { r.pools[0].Paused = false })
		time.Sleep(3 * time.Second)
		if got := r.numbers(); !slices.Equal(got, []int{10, 10}) {
			t.Errorf("it came to %v", got)
		}
	})
}
