package simulate

import (
	"log/slog"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
)

// startRebalancer rebalances the pool, as internal/app does.
func (w *world) startRebalancer() {
	r := w.pool.Rebalance
	if r == nil {
		return
	}
	rules := rebalance.Rules{Above: r.Above, Rate: r.Rate}
	if !w.pool.Reattach.Rebalance {
		rules.ReconnectTime = rebalance.ServiceRestartDelay
	}
	w.rebalancer = rebalance.New(rebalance.Options{
		Log:   slog.New(slog.DiscardHandler),
		Clock: w,
		Pools: func() []rebalance.Target {
			rules.MinAvailable = w.minHealthy()
			return []rebalance.Target{{Name: poolName, Members: w.picker.Members(), Rules: rules, MinAge: r.MinAge,
				Paused: w.limiter != nil && w.limiter.Waiting() > 0}}
		},
		Leaving: w.leaving,
		Give:    w.giveAway,
	})
}

// leaving counts, by backend, the sessions that are being moved or are in a batch.
func (w *world) leaving() map[uint32]int {
	n := map[uint32]int{}
	for _, s := range w.servers {
		for _, i := range s.batch.sessions[s.batch.done:] {
			if c := &w.clients[i]; c.inBatch && c.server == s.index {
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

func (w *world) giveAway(o rebalance.Request) (n int) {
	moves := w.pool.Reattach.Rebalance
	for _, s := range w.servers {
		if most := o.Most[s.backend.ID]; most > 0 {
			list := w.oldest(s, most, o.Select)
			n += len(list)
			w.startBatch(s, list, batch{spread: rebalance.Interval, move: moves, close: !moves, belowFairShare: moves})
		}
	}
	if !moves {
		w.picker.SteerNext(n)
	}
	return n
}

// oldest lists up to most of the oldest sessions of s that may go and aren't leaving.
func (w *world) oldest(s *server, most int, may func(session.Info) bool) (list []int32) {
	if s.byAge == nil {
		for _, i := range w.byAge(s) {
			s.byAge = append(s.byAge, aged{i, w.clients[i].opened})
		}
	}
	for len(s.byAge) > 0 && w.hasLeft(s, s.byAge[0]) {
		s.byAge = s.byAge[1:]
	}
	for _, a := range s.byAge {
		i := a.client
		if c := &w.clients[i]; w.hasLeft(s, a) || c.inBatch || c.attempt != none || !may(w.info(i)) {
			continue
		}
		if list = append(list, i); len(list) == most {
			break
		}
	}
	return list
}

// aged is a session in a list by age.
type aged struct {
	client int32
	opened time.Duration
}

// hasLeft reports whether a session in the list of s has ended, or is elsewhere. Its client may have
// another one on s.
func (w *world) hasLeft(s *server, a aged) bool {
	c := &w.clients[a.client]
	return c.server != s.index || c.opened != a.opened
}

// info is a session as the balancer's code sees it, as far as that is needed.
func (w *world) info(i int32) session.Info {
	c := &w.clients[i]
	return session.Info{Backend: w.servers[c.server].backend.ID, Started: startTime.Add(c.opened)}
}
