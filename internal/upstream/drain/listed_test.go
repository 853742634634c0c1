package drain_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// list applies a list with a in that state, and with others.
func (r *fixture) list(state pool.Listed, killIn time.Duration, others ...string) {
	a := pool.BackendSpec{Name: "a", Address: "10.0.0.1:1", Listed: state}
	if killIn > 0 {
		a.KillAt = time.Now().Add(killIn)
	}
	r.apply(append([]pool.BackendSpec{a}, named(others)...))
}

func (r *fixture) apply(backends []pool.BackendSpec) {
	r.registry.Apply([]pool.Spec{{Name: "chat", Backends: backends}})
}

func named(names []string) (all []pool.BackendSpec) {
	for i, n := range names {
		all = append(all, pool.BackendSpec{Name: n, Address: fmt.Sprintf("10.0.1.%d:1", i+1)})
	}
	return all
}

const (
	moveOrClose = "move or close a"
	drained     = session.BackendDrained
	seconds     = time.Second
)

// TestTerminating: a backend that will be killed is emptied before, as its plan says.
func TestTerminating(t *testing.T) {
	early := usual
	early.Early = true
	moving := func(p drain.Plan) drain.Plan { p.Moves = true; return p }
	for _, tt := range []struct {
		name   string
		plan   drain.Plan
		killIn time.Duration // 0: not known
		want   []order
	}{
		{"over the whole time", early, 30 * seconds, []order{{0, moveOrClose, drained, 28 * seconds}}},
		{"a long time", early, 2000 * seconds, []order{{0, moveOrClose, drained, 300 * seconds}}},
		{"no time", early, seconds, []order{{0, moveOrClose, drained, 0}}},
		{"moved, and what is left again", moving(early), 30 * seconds, []order{{0, "move a", 0, 14 * seconds}, {14 * seconds, moveOrClose, drained, 14 * seconds}}},
		{"as planned", drain.Plan{Timeout: 20 * seconds, Spread: 5 * seconds}, 60 * seconds, []order{{15 * seconds, moveOrClose, drained, 5 * seconds}}},
		{"a shorter time than planned", usual, 100 * seconds, []order{{38 * seconds, moveOrClose, drained, 60 * seconds}}},
		{"a shorter time than the spread", usual, 12 * seconds, []order{{0, moveOrClose, drained, 10 * seconds}}},
		{"moved over half of the time", moving(drain.Plan{Timeout: 30 * seconds, Spread: 30 * seconds}), 60 * seconds,
			[]order{{0, "move a", 0, 15 * seconds}, {15 * seconds, moveOrClose, drained, 15 * seconds}}},
		{"nobody knows when", moving(usual), 0, []order{{0, "move a", 0, 60 * seconds}, {240 * seconds, moveOrClose, drained, 60 * seconds}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFixture(t, tt.plan, 3)
				r.moves = tt.plan.Moves
				r.list(pool.ListedTerminating, tt.killIn, "b")
				last := tt.want[len(tt.want)-1]
				time.Sleep(max(last.at+last.spread-seconds/2, seconds/10))
				for range 3 {
					r.a.Release()
				}
				time.Sleep(time.Hour)
				r.want(t, tt.want...)
			})
		})
	}
}

// TestDeadlineMoves: a drain follows its backend's deadline, in both directions, but
// doesn't outlast what its pool or an operator has asked for.
func TestDeadlineMoves(t *testing.T) {
	early := drain.Plan{Timeout: 60 * seconds, Spread: 10 * seconds, Early: true}
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, early, 3)
		r.list(pool.ListedTerminating, 32*seconds, "b")
		time.Sleep(5 * seconds)
		r.want(t, order{0, moveOrClose, drained, 30 * seconds})
		r.list(pool.ListedTerminating, 27*seconds, "b") // the same time
		time.Sleep(seconds)
		r.want(t)
		r.list(pool.ListedTerminating, 12*seconds, "b")
		synctest.Wait()
		time.Sleep(seconds)
		r.want(t, order{6 * seconds, "keep a", 0, 0}, order{6 * seconds, moveOrClose, drained, 10 * seconds})
		if s := r.States(); len(s) != 1 || s[0].Since != r.began || s[0].Deadline != r.began.Add(16*seconds) {
			t.Errorf("states %+v of one that began at %v", s, r.began)
		}
		r.list(pool.ListedTerminating, time.Hour, "b")
		time.Sleep(seconds)
		r.want(t, order{7 * seconds, "keep a", 0, 0}, order{7 * seconds, moveOrClose, drained, 53 * seconds})
	})
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, drain.Plan{Timeout: 60 * seconds, Spread: 10 * seconds}, 3)
		r.Drain(r.a, 20*seconds, "asked for")
		time.Sleep(5 * seconds)
		r.want(t)
		r.list(pool.ListedTerminating, time.Hour, "b")
		time.Sleep(6 * seconds)
		r.want(t, order{5 * seconds, "keep a", 0, 0}, order{10 * seconds, moveOrClose, drained, 10 * seconds})
		r.list(pool.ListedTerminating, 5*seconds, "b")
		time.Sleep(seconds)
		r.want(t, order{11 * seconds, "keep a", 0, 0}, order{11 * seconds, moveOrClose, drained, 3 * seconds})
	})
}

// TestReadyAgain: what isn't closed yet stays.
func TestReadyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 3)
		r.list(pool.ListedTerminating, 30*seconds, "b")
		time.Sleep(seconds)
		r.want(t, order{0, moveOrClose, drained, 28 * seconds})
		r.list(pool.ListedReady, 0, "b")
		time.Sleep(time.Hour)
		r.want(t, order{seconds, "keep a", 0, 0})
		if s := r.States(); len(s) != 0 {
			t.Errorf("states %+v", s)
		}
		r.list(pool.ListedUnready, 0, "b")
		time.Sleep(time.Hour)
		r.want(t)
	})
}

// TestGone: the sessions of a terminating backend that left its list are closed at once,
// unless that was the end of the whole list.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, drain.Plan{Timeout: 300 * seconds, Spread: 5 * seconds}, 3)
		r.list(pool.ListedTerminating, 60*seconds, "b")
		time.Sleep(seconds)
		r.want(t)
		r.apply(named([]string{"b"}))
		time.Sleep(seconds)
		r.want(t, order{seconds, "keep a", 0, 0}, order{seconds, moveOrClose, session.BackendRemoved, 0},
			order{seconds * 6 / 5, moveOrClose, session.BackendRemoved, 0}) // what may have come meanwhile
		r.a.Release()
		r.a.Release()
		r.a.Release()
		time.Sleep(time.Hour)
		if s := r.States(); len(s) != 0 {
			t.Errorf("states %+v", s)
		}
	})
	for name, specs := range map[string][]pool.Spec{"an empty list": {{Name: "chat"}}, "no pool": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFixture(t, drain.Plan{Timeout: 300 * seconds, Spread: 5 * seconds}, 3)
				r.list(pool.ListedTerminating, 60*seconds, "b")
				time.Sleep(seconds)
				r.registry.Apply(specs)
				time.Sleep(53 * seconds)
				r.want(t, order{53 * seconds, moveOrClose, drained, 5 * seconds})
			})
		})
	}
	// Ready before: it left the list in another way, and may be there still.
	synctest.Test(t, func(t *testing.T) {
		r := newFixture(t, usual, 3)
		r.list(pool.ListedReady, 0, "b")
		r.apply(named([]string{"b"}))
		time.Sleep(241 * seconds)
		r.want(t, order{240 * seconds, moveOrClose, session.BackendRemoved, 60 * seconds})
	})
}
