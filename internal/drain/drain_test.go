package drain_test

import (
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/drain"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// order is what the engine was asked to do.
type order struct {
	at     time.Duration
	what   string
	cause  session.Cause
	spread time.Duration
}

type rig struct {
	*drain.Drainer
	registry *pool.Registry
	a        *pool.Backend
	began    time.Time
	plan     drain.Plan
	moves    bool // sessions can be given other backends

	mu     sync.Mutex // guards the following
	orders []order
}

func (r *rig) note(o order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.at = time.Since(r.began)
	r.orders = append(r.orders, o)
}

// want compares what was ordered since it was last asked; times are told to
// the poll.
func (r *rig) want(t *testing.T, orders ...order) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(orders) != len(r.orders) {
		t.Fatalf("ordered %+v, want %+v", r.orders, orders)
	}
	const slack = 250 * time.Millisecond
	for i, o := range orders {
		got := r.orders[i]
		if got.what != o.what || got.cause != o.cause || got.at < o.at || got.at > o.at+slack || got.spread > o.spread || got.spread < o.spread-slack {
			t.Errorf("ordered %+v, want %+v", got, o)
		}
	}
	r.orders = nil
}

var one = []pool.Spec{{Name: "chat", Backends: []pool.BackendSpec{{Name: "a", Address: "10.0.0.1:1"}}}}

// newRig has a backend with the given number of sessions.
func newRig(t *testing.T, plan drain.Plan, sessions int) *rig {
	r := &rig{began: time.Now(), plan: plan}
	r.Drainer = drain.New(drain.Options{
		Log:  slog.New(slog.DiscardHandler),
		Plan: func(*pool.Backend) drain.Plan { return r.plan },
		Close: func(b *pool.Backend, cause session.Cause, p drain.Plan, spread time.Duration) int {
			r.note(order{what: "close " + b.Name, cause: cause, spread: spread})
			return b.Sessions()
		},
		Move: func(b *pool.Backend, spread time.Duration) int {
			if !r.moves {
				return 0
			}
			r.note(order{what: "move " + b.Name, spread: spread})
			return b.Sessions()
		},
		Keep: func(b *pool.Backend) { r.note(order{what: "keep " + b.Name}) },
	})
	r.registry = pool.New(pool.Options{Changed: r.Look})
	pools, _ := r.registry.Apply(one)
	r.a = pools["chat"].Members[0].Backend
	for range sessions {
		r.a.TryAcquire()
	}
	t.Cleanup(func() {
		r.Close()
		r.registry.Close()
	})
	return r
}

var usual = drain.Plan{Timeout: 300 * time.Second, Spread: 60 * time.Second}

func TestSessionsAreClosedTowardsTheDeadline(t *testing.T) {
	for name, begin := range map[string]func(r *rig){
		"asked for":        func(r *rig) { r.Drain(r.a, -1, "asked for") },
		"answers 503":      func(r *rig) { r.a.SetOperational(pool.Draining, "503") },
		"agent says drain": func(r *rig) { r.a.SetAdmin(pool.Drain, "agent") },
		"maintenance":      func(r *rig) { r.a.SetAdmin(pool.Maint, "agent") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, usual, 3)
				begin(r)
				time.Sleep(239 * time.Second)
				r.want(t)
				if s := r.States(); len(s) != 1 || s[0].Backend != r.a || s[0].Deadline.Sub(s[0].Since) != 300*time.Second {
					t.Errorf("states %+v", s)
				}
				time.Sleep(2 * time.Second)
				r.want(t, order{240 * time.Second, "close a", session.BackendDrained, 60 * time.Second})
				for range 3 {
					r.a.Release()
				}
				time.Sleep(time.Hour)
				r.want(t)
				if len(r.States()) != 1 {
					t.Error("an empty backend is not told of as being kept empty")
				}
			})
		})
	}
}

func TestUndrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, usual, 3)
		r.Drain(r.a, -1, "asked for")
		time.Sleep(10 * time.Second)
		r.Undrain(r.a, "asked for")
		time.Sleep(time.Hour)
		r.want(t, order{10 * time.Second, "keep a", session.None, 0})
		if r.a.Fitness() != pool.Fit || len(r.States()) != 0 {
			t.Errorf("%v, %+v", r.a.Fitness(), r.States())
		}

		r.began = time.Now()
		r.Drain(r.a, 30*time.Second, "asked for")
		time.Sleep(time.Second)
		r.want(t, order{0, "close a", session.BackendDrained, 30 * time.Second}) // spread is cut to what there is
		r.Undrain(r.a, "asked for")
		r.want(t, order{time.Second, "keep a", session.None, 0})

		r.began = time.Now()
		r.Drain(r.a, -1, "asked for") // the other timeout was for that once
		time.Sleep(100 * time.Second)
		r.want(t)
	})
}

// What is wanted and what checks found are two axes: either holds it empty.
func TestUndrainLeavesTheChecksWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, usual, 1)
		r.Drain(r.a, -1, "asked for")
		r.a.SetOperational(pool.Draining, "503")
		r.Undrain(r.a, "asked for")
		if len(r.States()) != 1 {
			t.Error("the drain ended though the backend still answers 503")
		}
		r.a.SetOperational(pool.Up, "200")
		if len(r.States()) != 0 {
			t.Error("the drain goes on though the backend is up again")
		}
	})
}

// Sessions of handshakes that were under way when the closes were planned are
// closed after the deadline, for as long as there are any.
func TestLateSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, drain.Plan{Timeout: 10 * time.Second, Spread: 5 * time.Second}, 1)
		r.Drain(r.a, -1, "asked for")
		time.Sleep(11500 * time.Millisecond)
		r.want(t,
			order{5 * time.Second, "close a", session.BackendDrained, 5 * time.Second},
			order{10 * time.Second, "close a", session.BackendDrained, 0},
			order{11200 * time.Millisecond, "close a", session.BackendDrained, 0})
		r.a.Release()
		time.Sleep(time.Hour)
		r.want(t)
		r.a.TryAcquire() // it chose the backend before the drain began
		time.Sleep(time.Second)
		r.want(t, order{time.Hour + 11500*time.Millisecond, "close a", session.BackendDrained, 0})
	})
}

func TestBackendThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, usual, 1)
		r.registry.Apply(nil)
		time.Sleep(250 * time.Second)
		r.want(t, order{240 * time.Second, "close a", session.BackendRemoved, 60 * time.Second})
		r.a.Release()
		time.Sleep(time.Second)
		if len(r.States()) != 0 {
			t.Error("a backend that is gone is still told of")
		}
	})
}

func TestTimeoutZeroIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, usual, 1)
		r.Drain(r.a, 0, "asked for")
		r.want(t, order{0, "close a", session.BackendDrained, 0})
	})
}

// What can be moved is moved at once, and what stays is closed in the end.
func TestSessionsAreMovedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, usual, 2)
		r.moves = true
		r.Drain(r.a, -1, "asked for")
		time.Sleep(time.Second)
		r.want(t, order{0, "move a", session.None, 60 * time.Second})
		r.a.Release()
		time.Sleep(240 * time.Second)
		r.want(t, order{240 * time.Second, "close a", session.BackendDrained, 60 * time.Second})
		r.a.Release()
		time.Sleep(time.Second)
	})
}

// A session that comes when a drain has begun is moved on.
func TestSessionsThatComeLateAreMovedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, usual, 2)
		r.moves = true
		r.Came(r.a)
		r.Drain(r.a, -1, "asked for")
		time.Sleep(10 * time.Second)
		r.want(t, order{0, "move a", session.None, 60 * time.Second})
		for range 100 {
			r.Came(r.a)
		}
		time.Sleep(time.Second)
		r.want(t, order{10 * time.Second, "move a", session.None, 0})
		time.Sleep(239 * time.Second)
		r.want(t, order{240 * time.Second, "close a", session.BackendDrained, 60 * time.Second})
		r.Came(r.a) // while the others are being closed
		time.Sleep(time.Second)
		r.want(t, order{250 * time.Second, "move a", session.None, 0})
		r.Undrain(r.a, "asked for")
		r.Came(r.a)
		time.Sleep(time.Second)
		r.want(t, order{251 * time.Second, "keep a", session.None, 0})
	})
}

// A drain that is asked for again begins when the one before has taken back
// what it had planned, not the other way round.
func TestAskedAgain(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, usual, 1)
			r.moves = true
			r.Drain(r.a, -1, "asked for")
			time.Sleep(time.Second)
			r.Drain(r.a, 20*time.Second, "asked for")
			r.want(t,
				order{0, "move a", session.None, 60 * time.Second},
				order{time.Second, "keep a", session.None, 0},
				order{time.Second, "move a", session.None, 20 * time.Second},
				order{time.Second, "close a", session.BackendDrained, 20 * time.Second})
			r.Undrain(r.a, "asked for")
		})
	}
}
