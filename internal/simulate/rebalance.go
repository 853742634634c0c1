package simulate

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/rebalance"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// comeBack is for how long sessions that were closed for an even pool are
// expected back, as app has it.
const comeBack = 30 * time.Second

// rebalances has the pool evened out, in the way of app.
func (w *world) rebalances() {
	r := w.pool.Rebalance
	if r == nil {
		return
	}
	rules := rebalance.Rules{Above: r.Above, Rate: r.Rate}
	if !w.pool.Reattach.Rebalance {
		rules.Absence = comeBack
	}
	w.rebalancer = rebalance.New(rebalance.Options{
		Log:   slog.New(slog.DiscardHandler),
		Clock: w,
		Pools: func() []rebalance.Pool {
			rules.MinFit = w.minHealthy()
			return []rebalance.Pool{{Name: poolName, Members: w.picker.Members(), Rules: rules, MinAge: r.MinAge,
				Wait: w.admit != nil && w.admit.Waiting() > 0}}
		},
		Leaving: w.leaving,
		Give:    w.giveAway,
	})
}

// leaving counts, by backend, the sessions that are being moved or have been
// given a turn.
func (w *world) leaving() map[uint32]int {
	n := map[uint32]int{}
	for _, s := range w.servers {
		for _, i := range s.order.sessions[s.order.done:] {
			if c := &w.clients[i]; c.ordered && c.server == s.index {
				n[s.backend.ID]++
			}
		}
	}
	for _, a := range w.attempts.all {
		if c := &w.clients[a.client]; a.move && c.attempt == a.index && c.server != none {
			n[w.servers[c.server].backend.ID]++
		}
	}
	return n
}

func (w *world) giveAway(o rebalance.Order) (n int) {
	moves := w.pool.Reattach.Rebalance
	for _, s := range w.servers {
		if most := o.Most[s.backend.ID]; most > 0 {
			list := w.oldest(s, most, o.Select)
			n += len(list)
			w.give(s, list, order{spread: rebalance.Interval, move: moves, close: !moves, below: moves})
		}
	}
	if !moves {
		w.picker.Expect(n)
	}
	return n
}

// oldest lists the oldest sessions of s that may go and aren't leaving, most
// at most.
func (w *world) oldest(s *server, most int, may func(session.Info) bool) []int32 {
	older := func(a, b int32) int {
		return cmp.Or(cmp.Compare(w.clients[a].opened, w.clients[b].opened), cmp.Compare(a, b))
	}
	var list []int32 // in the order of their age
	for _, i := range s.sessions {
		if len(list) == most && older(i, list[most-1]) > 0 {
			continue
		}
		if c := &w.clients[i]; c.ordered || c.attempt != none || !may(w.info(i)) {
			continue
		}
		at, _ := slices.BinarySearchFunc(list, i, older)
		list = slices.Insert(list, at, i)
		if len(list) > most {
			list = list[:most]
		}
	}
	return list
}

// info is a session as the balancer's code is told of it, as far as that asks.
func (w *world) info(i int32) session.Info {
	c := &w.clients[i]
	return session.Info{Backend: w.servers[c.server].backend.ID, Started: beginning.Add(c.opened)}
}
