package app

import (
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
)

func (a *App) newRebalancer() *rebalance.Rebalancer {
	return rebalance.New(rebalance.Options{Log: a.noted(api.EventRebalance), Pools: a.rebalanced, Leaving: a.engine.Leaving, Give: a.giveAway})
}

// rebalanced lists the pools with rebalance.
func (a *App) rebalanced() (list []rebalance.Target) {
	c, g := a.current.Load(), a.proxy.Generation()
	for i := range c.Pools {
		p := &c.Pools[i]
		made := g.Pools[p.Name]
		if p.Rebalance == nil || made == nil {
			continue
		}
		members := made.Picker.Members()
		r := rebalance.Target{
			Name: p.Name, Members: members, MinAge: p.Rebalance.MinAge,
			Rules: rebalance.Rules{
				Above: float64(p.Rebalance.Above) / 100, Rate: p.Rebalance.Rate,
				MinAvailable: minHealthyOf(p, members),
			},
			// No session is moved to backends that handshakes wait for.
			Paused: made.Admit != nil && made.Admit.Waiting() > 0,
		}
		if !movesOnRebalance(made) {
			r.Rules.ReconnectTime = rebalance.ServiceRestartDelay
		}
		list = append(list, r)
	}
	return list
}

// movesOnRebalance reports whether sessions are moved rather than closed when a
// pool is rebalanced.
func movesOnRebalance(p *generation.Pool) bool { return p.Reattach != nil && p.Reattach.Rebalance }

func (a *App) giveAway(given rebalance.Request) int {
	p := a.proxy.Generation().Pools[given.Pool]
	if p == nil {
		return 0 // a reload has just removed it
	}
	oldest := relay.Selection{Backends: map[uint32]relay.Bound{}}
	for backend, most := range given.Most {
		oldest.Backends[backend] = relay.Bound{Most: most, After: given.After[backend], UpTo: given.UpTo}
	}
	if movesOnRebalance(p) {
		return a.engine.MoveSessions(relay.MoveRequest{Selection: oldest, Why: session.Rebalance, Spread: rebalance.Interval})
	}
	n := a.engine.CloseSessions(relay.CloseRequest{
		Selection: oldest,
		Close:     relay.Close{Cause: session.Rebalanced, Code: relay.CodeServiceRestart, Reason: relay.Uneven},
		Spread:    rebalance.Interval, SkipScheduled: true,
	})
	p.Picker.SteerNext(n)
	return n
}
