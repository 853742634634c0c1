package app

import (
	"fmt"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/drain"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

func (a *App) newDrainer() *drain.Drainer {
	return drain.New(drain.Options{
		Log:  a.slog,
		Plan: a.drainPlan,
		Close: func(b *pool.Backend, cause session.Cause, p drain.Plan, spread time.Duration) int {
			return a.engine.CloseSessions(relay.Order{
				Select: with(b),
				Cause:  cause, Code: p.Code, Reason: relay.GoingAway, Text: p.Reason, Spread: spread, Late: spread == 0,
				Move: a.movesOnDrain(b), Why: session.Drain,
			})
		},
		Move: func(b *pool.Backend, spread time.Duration) int {
			if !a.movesOnDrain(b) {
				return 0
			}
			return a.engine.CloseSessions(relay.Order{Select: with(b), Spread: spread, Move: true, MoveOnly: true, Why: session.Drain})
		},
		Keep: func(b *pool.Backend) {
			a.engine.CloseSessions(relay.Order{Select: with(b), Keep: true})
		},
	})
}

// with selects the sessions of b.
func with(b *pool.Backend) func(session.Info) bool {
	return func(i session.Info) bool { return i.Backend == b.ID }
}

// poolOf is what the configuration says of b's pool; nil where that is gone.
func (a *App) poolOf(b *pool.Backend) *config.Pool {
	c := a.current.Load()
	for i := range c.Pools {
		if c.Pools[i].Name == b.Pool {
			return &c.Pools[i]
		}
	}
	return nil
}

// drainPlan is that of b's pool; the defaults where that is gone.
func (a *App) drainPlan(b *pool.Backend) drain.Plan {
	d := config.DefaultDrain()
	if p := a.poolOf(b); p != nil {
		d = p.Drain
	}
	return drain.Plan{Timeout: d.Timeout, Spread: d.Spread, Code: uint16(d.Code), Reason: d.Reason}
}

// movesOnDrain tells whether the sessions of b are given another backend rather
// than closed. Of a pool that is gone, there is none to be given.
func (a *App) movesOnDrain(b *pool.Backend) bool {
	p := a.poolOf(b)
	return p != nil && p.Reattach != nil && p.Reattach.Drain
}

// backend finds one by "POOL/BACKEND".
func (a *App) backend(name string) (*pool.Backend, error) {
	for _, b := range a.registry.Backends() {
		if b.Pool+"/"+b.Name == name && !b.Removed() {
			return b, nil
		}
	}
	return nil, fmt.Errorf("there is no backend %q: want POOL/BACKEND, as holdfast status lists them", name)
}

func (a *App) drain(name string, timeout time.Duration) error {
	b, err := a.backend(name)
	if err == nil {
		a.drainer.Drain(b, timeout, "asked for")
	}
	return err
}

func (a *App) undrain(name string) error {
	b, err := a.backend(name)
	if err == nil {
		a.drainer.Undrain(b, "asked for")
	}
	return err
}
