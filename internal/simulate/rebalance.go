package simulate

import (
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/rebalance"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// rebalances has the pool evened out, in the way of app.
func (w *world) rebalances() {
	r := w.pool.Rebalance
	if r == nil {
		return
	}
	rules := rebalance.Rules{Above: r.Above, Rate: r.Rate}
	if !w.pool.Reattach.Rebalance {
		rules.Absence = rebalance.ComeBack
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
func (w *world) oldest(s *server, most int, may func(session.Info) bool) (list []int32) {
	if s.aged == nil {
		s.aged = w.byAge(s)
	}
	for len(s.aged) > 0 && w.clients[s.aged[0]].server != s.index {
		s.aged = s.aged[1:] // it has gone
	}
	for _, i := range s.aged {
		if c := &w.clients[i]; c.server != s.index || c.ordered || c.attempt != none || !may(w.info(i)) {
			continue
		}
		if list = append(list, i); len(list) == most {
			break
		}
	}
	return list
}

// info is a session as the balancer's code is told of it, as far as that asks.
func (w *world) info(i int32) session.Info {
	c := &w.clients[i]
	return session.Info{Backend: w.servers[c.server].backend.ID, Started: beginning.Add(c.opened)}
}
