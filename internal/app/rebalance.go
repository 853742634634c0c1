package app

import (
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/rebalance"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

func (a *App) newRebalancer() *rebalance.Rebalancer {
	return rebalance.New(rebalance.Options{Log: a.slog, Pools: a.rebalanced, Leaving: a.engine.Leaving, Give: a.giveAway})
}

// rebalanced lists the pools that have rebalance.
func (a *App) rebalanced() (list []rebalance.Pool) {
	c, g := a.current.Load(), a.proxy.Generation()
	for i := range c.Pools {
		p := &c.Pools[i]
		made := g.Pools[p.Name]
		if p.Rebalance == nil || made == nil {
			continue
		}
		members := made.Picker.Members()
		r := rebalance.Pool{
			Name: p.Name, Members: members, MinAge: p.Rebalance.MinAge,
			Rules: rebalance.Rules{
				Above: float64(p.Rebalance.Above) / 100, Rate: p.Rebalance.Rate,
				MinFit: minHealthyOf(p, len(members)),
			},
			// Nobody is sent to backends for whose tokens others wait.
			Wait: made.Admit != nil && made.Admit.Waiting() > 0,
		}
		if !movesOnRebalance(made) {
			r.Rules.Absence = rebalance.ComeBack
		}
		list = append(list, r)
	}
	return list
}

// movesOnRebalance tells whether the sessions that a pool's backends give away
// are moved rather than closed.
func movesOnRebalance(p *proxy.Pool) bool { return p.Reattach != nil && p.Reattach.Rebalance }

func (a *App) giveAway(given rebalance.Order) int {
	p := a.proxy.Generation().Pools[given.Pool]
	if p == nil {
		return 0 // a reload has just removed it
	}
	o := relay.Order{Select: given.Select, Most: given.Most, Spread: rebalance.Interval}
	if movesOnRebalance(p) {
		o.Move, o.MoveOnly, o.Why = true, true, session.Rebalance
		return a.engine.CloseSessions(o)
	}
	o.Cause, o.Code, o.Reason, o.Late = session.Rebalanced, relay.CodeServiceRestart, relay.Uneven, true
	n := a.engine.CloseSessions(o)
	p.Picker.Expect(n)
	return n
}
