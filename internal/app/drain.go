package app

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

func (a *App) newDrainer() *drain.Drainer {
	return drain.New(drain.Options{
		Log:  a.noted(api.EventDrain),
		Plan: a.drainPlan,
		Close: func(b *pool.Backend, cause session.Cause, p drain.Plan, spread time.Duration, move bool) int {
			which := ofBackend(b)
			if p.Early && spread > 0 {
				// Answers end by themselves, and the rest is cut at the deadline.
				which = func(id uint32, events bool) bool { return id == b.ID && events }
			}
			a.proxy.CutAnswers(httpproxy.Cut{Which: which, Reason: cause.String(), Spread: spread})
			end := relay.Close{Cause: cause, Code: p.Code, Reason: relay.GoingAway, Text: p.Reason}
			if move && a.movesOnDrain(b) {
				return a.engine.MoveSessions(relay.MoveRequest{
					Selection: relay.OfBackend(b.ID), Why: session.Drain, Spread: spread, OrClose: &end, SkipScheduled: spread == 0,
				})
			}
			return a.engine.CloseSessions(relay.CloseRequest{Selection: relay.OfBackend(b.ID), Close: end, Spread: spread, SkipScheduled: spread == 0})
		},
		Move: func(b *pool.Backend, spread time.Duration) int {
			if !a.movesOnDrain(b) {
				return 0
			}
			return a.engine.MoveSessions(relay.MoveRequest{Selection: relay.OfBackend(b.ID), Why: session.Drain, Spread: spread})
		},
		CancelClose: func(b *pool.Backend) {
			a.proxy.KeepAnswers(ofBackend(b))
			a.engine.Cancel(relay.CancelRequest{Selection: relay.OfBackend(b.ID)})
		},
	})
}

// ofBackend selects the plain HTTP requests that b is answering.
func ofBackend(b *pool.Backend) func(uint32, bool) bool {
	return func(id uint32, _ bool) bool { return id == b.ID }
}

// poolOf returns b's pool in the configuration, during a reload in the new one;
// nil if it isn't there.
func (a *App) poolOf(b *pool.Backend) *config.Pool {
	if c := a.coming.Load(); c != nil {
		return poolIn(c, b)
	}
	return poolIn(a.current.Load(), b)
}

func poolIn(c *config.Config, b *pool.Backend) *config.Pool {
	for i := range c.Pools {
		if c.Pools[i].Name == b.Pool {
			return &c.Pools[i]
		}
	}
	return nil
}

// drainPlan returns the drain settings of b's pool: during a reload those of the
// new configuration, or of the old one if the pool is removed.
func (a *App) drainPlan(b *pool.Backend) drain.Plan {
	d := config.DefaultDrain()
	if p := cmp.Or(a.poolOf(b), poolIn(a.current.Load(), b)); p != nil {
		d = p.Drain
	}
	usual := config.DefaultDrain()
	return drain.Plan{Timeout: d.Timeout, Spread: d.Spread, Code: uint16(d.Code), Reason: d.Reason, Moves: a.movesOnDrain(b),
		Early: d.Timeout == usual.Timeout && d.Spread == usual.Spread && !b.KillAt().IsZero()}
}

// movesOnDrain reports whether the sessions of b are moved rather than closed. A
// pool that was removed has no other backends.
func (a *App) movesOnDrain(b *pool.Backend) bool {
	p := a.poolOf(b)
	return p != nil && p.Reattach.Allows(session.Drain)
}

// serves reports whether a pool has a backend for new sessions.
func (a *App) serves(name string) bool {
	p := a.proxy.Generation().Pools[name]
	if p == nil {
		return false
	}
	worst := pool.Ejected
	for _, c := range a.current.Load().Pools {
		if c.Name == name && minHealthyOf(&c, p.Picker.Members()) > 0 {
			worst = pool.Unhealthy // with fewer, their health is ignored
		}
	}
	return slices.ContainsFunc(p.Picker.Members(), func(m pool.Member) bool { return m.Backend.Availability() <= worst })
}
