package drain_test

import (
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// order is a call of one of the Options.
type order struct {
	at     time.Duration
	what   string
	cause  session.Cause
	spread time.Duration
}

type fixture struct {
	*drain.Drainer
	registry *pool.Registry
	a        *pool.Backend
	began    time.Time
	plan     drain.Plan
	moves    bool // sessions can be given other backends

	mu     sync.Mutex // guards the following
	orders []order
}

func (r *fixture) note(o order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.at = time.Since(r.began)
	r.orders = append(r.orders, o)
}

// want compares the calls since it was last used; times are accurate to one poll.
func (r *fixture) want(t *testing.T, orders ...order) {
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

// newFixture makes a backend with the given number of sessions.
func newFixture(t *testing.T, plan drain.Plan, sessions int) *fixture {
	r := &fixture{began: time.Now(), plan: plan}
	r.Drainer = drain.New(drain.Options{
		Log:  slog.New(slog.DiscardHandler),
		Plan: func(*pool.Backend) drain.Plan { return r.plan },
		Close: func(b *pool.Backend, cause session.Cause, p drain.Plan, spread time.Duration, move bool) int {
			what := "close "
			if move {
				what = "move or close "
			}
			r.note(order{what: what + b.Name, cause: cause, spread: spread})
			return b.Sessions()
		},
		Move: func(b *pool.Backend, spread time.Duration) int {
			if !r.moves {
				return 0
			}
			r.note(order{what: "move " + b.Name, spread: spread})
			return b.Sessions()
		},
		CancelClose: func(b *pool.Backend) { r.note(order{what: "keep " + b.Name}) },
	})
	r.registry = pool.New(pool.Options{OnChange: r.Reconcile})
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
	for name, begin := range map[string]func(r *fixture){
		"asked for":        func(r *fixture) { r.Drain(r.a, -1, "asked for") },
		"answers 503":      func(r *fixture) { r.a.SetOperational(pool.Draining, "503") },
		"agent says drain": func(r *fixture) { r.a.SetAdmin(pool.Drain, "agent") },
		"maintenance":      func(r *fixture) { r.a.SetAdmin(pool.Maint, "agent") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFixture(t, usual, 3)
				begin(r)
				time.Sleep(239 * time.Second)
				r.want(t)
				if s := r.States(); len(s) != 1 || s[0].Backend != r.a || s[0].Deadline.Sub(s[0].Since) != 300*time.Second || s[0].Sessions != r.a.Sessions() {
					t.Errorf("states %+v", s)
				}
				time.Sleep(2 * time.Second)
				r.want(t, order{240 * time.Second, "move or close a", session.BackendDrained, 60 * time.Second})
				for range 3 {
					r.a.Release()
				}
				time.Sleep(time.Hour)
				r.want(t)
				if len(r.States()) != 1 {
					t.Error("an empty backend is not reported as kept empty")
				}
			})
		})
	}
}

func TestUndrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 3)
		r.Drain(r.a, -1, "asked for")
		time.Sleep(10 * time.Second)
		r.Undrain(r.a, "asked for")
		time.Sleep(time.Hour)
		r.want(t, order{10 * time.Second, "keep a", session.None, 0})
		if r.a.Availability() != pool.Available || len(r.States()) != 0 {
			t.Errorf("%v, %+v", r.a.Availability(), r.States())
		}

		r.began = time.Now()
		r.Drain(r.a, 30*time.Second, "asked for")
		time.Sleep(time.Second)
		r.want(t, order{0, "move or close a", session.BackendDrained, 30 * time.Second}) // spread is cut to what there is
		r.Undrain(r.a, "asked for")
		r.want(t, order{time.Second, "keep a", session.None, 0})

		r.began = time.Now()
		r.Drain(r.a, -1, "asked for") // the other timeout was for that once
		time.Sleep(100 * time.Second)
		r.want(t)
	})
}

// The administrative state and the checks' state are independent: either keeps the
// backend empty.
func TestUndrainLeavesTheChecksWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 1)
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

// Sessions whose handshakes were under way when Close was called are closed after
// the deadline, as long as there are any.
func TestLateSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, drain.Plan{Timeout: 10 * time.Second, Spread: 5 * time.Second}, 1)
		r.Drain(r.a, -1, "asked for")
		time.Sleep(11500 * time.Millisecond)
		r.want(t,
			order{5 * time.Second, "move or close a", session.BackendDrained, 5 * time.Second},
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

func TestRemovedBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 1)
		r.registry.Apply(nil)
		time.Sleep(250 * time.Second)
		r.want(t, order{240 * time.Second, "move or close a", session.BackendRemoved, 60 * time.Second})
		r.a.Release()
		time.Sleep(time.Second)
		if len(r.States()) != 0 {
			t.Error("a backend that is gone is still reported")
		}
	})
}

func TestTimeoutZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 1)
		r.Drain(r.a, 0, "asked for")
		r.want(t, order{0, "move or close a", session.BackendDrained, 0})
		time.Sleep(1100 * time.Millisecond)
		// Sessions that come late are moved, too, before they are closed.
		r.want(t, order{200 * time.Millisecond, "move or close a", session.BackendDrained, 0})
	})
}

// Sessions that can be moved are moved at once; the rest is closed in the end.
func TestSessionsAreMovedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 2)
		r.moves = true
		r.Drain(r.a, -1, "asked for")
		time.Sleep(time.Second)
		r.want(t, order{0, "move a", session.None, 60 * time.Second})
		r.a.Release()
		time.Sleep(240 * time.Second)
		r.want(t, order{240 * time.Second, "move or close a", session.BackendDrained, 60 * time.Second})
		r.a.Release()
		time.Sleep(time.Second)
	})
}

// After its deadline a drain moves no session: those that are left are closed,
// whatever has become of moves, and however often it is asked for.
func TestDeadlineIsForSessionsThatAreBeingMoved(t *testing.T) {
	for name, tt := range map[string]struct {
		plan drain.Plan
		want []order
	}{
		"no spread": {drain.Plan{Timeout: 3 * time.Second}, []order{
			{0, "move a", session.None, 0},
			{3 * time.Second, "close a", session.BackendDrained, 0},
			{3200 * time.Millisecond, "close a", session.BackendDrained, 0},
			{4400 * time.Millisecond, "close a", session.BackendDrained, 0}}},
		"some spread": {drain.Plan{Timeout: 3 * time.Second, Spread: time.Second}, []order{
			{0, "move a", session.None, time.Second},
			{2 * time.Second, "move or close a", session.BackendDrained, time.Second},
			{3 * time.Second, "close a", session.BackendDrained, 0},
			{4200 * time.Millisecond, "close a", session.BackendDrained, 0}}},
		"all spread": {drain.Plan{Timeout: 3 * time.Second, Spread: 3 * time.Second}, []order{
			{0, "move a", session.None, 3 * time.Second},
			{0, "move or close a", session.BackendDrained, 3 * time.Second},
			{3 * time.Second, "close a", session.BackendDrained, 0},
			{4200 * time.Millisecond, "close a", session.BackendDrained, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFixture(t, tt.plan, 1)
				r.moves = true
				r.Drain(r.a, -1, "asked for")
				time.Sleep(5 * time.Second)
				r.want(t, tt.want...)
				r.a.Release()
			})
		})
	}
}

// A session that comes when a drain has begun is moved.
func TestSessionsThatComeLateAreMovedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 2)
		r.moves = true
		r.SessionArrived(r.a)
		r.Drain(r.a, -1, "asked for")
		time.Sleep(10 * time.Second)
		r.want(t, order{0, "move a", session.None, 60 * time.Second})
		for range 100 {
			r.SessionArrived(r.a)
		}
		time.Sleep(time.Second)
		r.want(t, order{10 * time.Second, "move a", session.None, 0})
		time.Sleep(239 * time.Second)
		r.want(t, order{240 * time.Second, "move or close a", session.BackendDrained, 60 * time.Second})
		r.SessionArrived(r.a) // while the others are being closed
		time.Sleep(time.Second)
		r.want(t, order{250 * time.Second, "move a", session.None, 0})
		r.Undrain(r.a, "asked for")
		r.SessionArrived(r.a)
		time.Sleep(time.Second)
		r.want(t, order{251 * time.Second, "keep a", session.None, 0})
	})
}

// A second drain starts after the first has cancelled what it had planned, not
// before.
func TestDrainAgain(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			r := newFixture(t, usual, 1)
			r.moves = true
			r.Drain(r.a, -1, "asked for")
			time.Sleep(time.Second)
			r.Drain(r.a, 20*time.Second, "asked for")
			r.want(t,
				order{0, "move a", session.None, 60 * time.Second},
				order{time.Second, "keep a", session.None, 0},
				order{time.Second, "move a", session.None, 20 * time.Second},
				order{time.Second, "move or close a", session.BackendDrained, 20 * time.Second})
			r.Undrain(r.a, "asked for")
		})
	}
}

// A backend that discovery missed for a moment keeps its sessions.
func TestReturnEndsTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 3)
		r.registry.Apply(nil)
		time.Sleep(1200 * time.Millisecond)
		if pools, _ := r.registry.Apply(one); pools["chat"].Members[0].Backend != r.a {
			t.Fatal("it came back as another")
		}
		r.want(t, order{at: 1200 * time.Millisecond, what: "keep a"})
		if len(r.States()) != 0 {
			t.Error("it is still being emptied")
		}
		time.Sleep(time.Hour)
		r.want(t)
		// When it is removed for good, it is emptied from then on.
		r.registry.Apply(nil)
		left := time.Since(r.began)
		time.Sleep(240*time.Second + 500*time.Millisecond)
		r.want(t, order{at: left + 240*time.Second, what: "move or close a", cause: session.BackendRemoved, spread: 60 * time.Second})
	})
}
