package rebalance_test

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
)

// world is a pool under virtual time that carries out a planner's steps.
type world struct {
	rebalance.Planner
	now      time.Time
	backends []*server
	travels  []travel

	closes bool          // sessions are closed, not moved
	trip   time.Duration // of a session that is given away, to where it comes
	skew   time.Duration // between the looks at who is leaving and at leases
	loses  func(to *server) bool
	fails  func() bool // a move

	given, arrived int
	tooMany        string // a fault in what was planned
}

type server struct {
	id                uint32
	weight, most      int
	sessions, leaving int // leases, and those of them that were given away
	down              bool
}

// travel is a session between two backends.
type travel struct {
	from *server
	due  time.Time
}

func newWorld(rules rebalance.Rules, sessions ...int) *world {
	w := &world{now: time.Unix(1e9, 0), trip: 100 * time.Millisecond}
	w.Rules = rules
	w.closes = rules.ReconnectTime > 0
	for _, n := range sessions {
		w.join(1).sessions = n
	}
	return w
}

func (w *world) join(weight int) *server {
	s := &server{id: uint32(len(w.backends) + 1), weight: weight, most: math.MaxInt}
	w.backends = append(w.backends, s)
	return s
}

// step makes one step of the planner, and waits until the next.
func (w *world) step() (asked int) {
	w.travel(0)
	leaving := make([]int, len(w.backends))
	for i, b := range w.backends {
		leaving[i] = b.leaving
	}
	w.travel(w.skew)
	give := w.Step(w.now, w.members(leaving))
	for _, id := range slices.Sorted(maps.Keys(give)) { // in one order, so that a failure can be reproduced
		n := give[id]
		b := w.backends[id-1]
		if n <= 0 || n > b.sessions-b.leaving || b.down {
			w.tooMany = "gives away what it has not got"
		}
		if float64(n) > w.Rules.Rate*rebalance.Interval.Seconds()+1 {
			w.tooMany = "gives away more than its rate"
		}
		b.leaving += n
		asked += n
		for range n {
			w.travels = append(w.travels, travel{from: b, due: w.now.Add(w.trip + time.Duration(w.given%5)*rebalance.Interval/5)})
			w.given++
		}
	}
	if asked > 0 {
		w.RecordGiven(w.now, asked)
	}
	w.now = w.now.Add(rebalance.Interval)
	return asked
}

// members are the backends as the planner gets them.
func (w *world) members(leaving []int) []rebalance.Member {
	members := make([]rebalance.Member, len(w.backends))
	for i, b := range w.backends {
		members[i] = rebalance.Member{ID: b.id, Sessions: b.sessions}
		if leaving != nil {
			members[i].Leaving = leaving[i]
		}
		if !b.down {
			members[i].Capacity = pool.Capacity{Weight: uint64(b.weight) * 1024, Limit: b.most}
		}
	}
	return members
}

// travel lets the sessions arrive whose time has come, or will come in a moment.
func (w *world) travel(ahead time.Duration) {
	w.travels = slices.DeleteFunc(w.travels, func(t travel) bool {
		switch {
		case w.now.Add(ahead).Before(t.due):
			return false
		case w.fails != nil && w.fails():
			t.from.leaving--
			return true
		}
		to := w.least()
		t.from.leaving--
		t.from.sessions--
		w.arrived++
		if w.loses == nil || !w.loses(to) {
			to.sessions++
		}
		return true
	})
}

// least is the least loaded of the backends below their fair shares.
func (w *world) least() *server {
	var best *server
	for i, f := range w.fair() {
		b := w.backends[i]
		if b.down || b.sessions >= b.most || float64(b.sessions) >= f {
			continue
		}
		if best == nil || (b.sessions+1)*best.weight < (best.sessions+1)*b.weight {
			best = b
		}
	}
	return best
}

func (w *world) run(d time.Duration) {
	for until := w.now.Add(d); w.now.Before(until); {
		w.step()
	}
}

// untilEven makes steps until nothing is given away any more, and returns how long
// that took.
func (w *world) untilEven(most time.Duration) (took time.Duration) {
	began, last := w.now, w.now
	for w.now.Sub(began) < most {
		if w.step() > 0 {
			last = w.now
		}
		if !w.State().Active && len(w.travels) == 0 {
			break
		}
	}
	return last.Sub(began)
}

func (w *world) sessions() (all []int) {
	for _, b := range w.backends {
		all = append(all, b.sessions)
	}
	return all
}

// fair is the fair share of each, without limits.
func (w *world) fair() (all []float64) {
	total, weight := 0, 0
	for _, b := range w.backends {
		if !b.down {
			total += b.sessions
			weight += b.weight
		}
	}
	for _, b := range w.backends {
		if b.down {
			all = append(all, 0)
			continue
		}
		all = append(all, float64(total)*float64(b.weight)/float64(weight))
	}
	return all
}

// over is the excess over fair shares, rounded to whole sessions.
func (w *world) over() (n int) {
	for i, f := range w.fair() {
		n += max(w.backends[i].sessions-int(math.Ceil(f-1e-9)), 0)
	}
	return n
}
