package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/scenario"
	"github.com/holdfast-ws/holdfast/internal/tool/simulate"
	"github.com/holdfast-ws/holdfast/internal/tool/simulate/plot"
)

type simulateCommand struct {
	Scenario string `arg:"" placeholder:"SCENARIO.yaml" help:"File with the scenario; docs/simulate.md lists its keys."`
	SVG      string `name:"svg" placeholder:"FILE" help:"Write a plot of handshakes per second, sessions and clients over time."`
	JSON     bool   `name:"json" help:"Print one JSON object (docs/simulate.md) instead of a table."`
	Sessions int    `placeholder:"N" help:"Number of sessions instead of the scenario's. The capacity of backends and the rates of admit and rebalance are scaled with it."`
	Seed     int64  `default:"-1" placeholder:"N" help:"Random seed instead of the scenario's."`
}

// Help is kong's detailed help.
func (*simulateCommand) Help() string {
	return `Runs the balancer's own code with simulated backends and clients in virtual time,
and shows what happens to a million sessions when backends are restarted, die, or
are scaled out and in. The same seed gives the same figures.

  holdfast simulate docs/storms/deploy.yaml --svg deploy.svg
  holdfast simulate docs/storms/deploy.yaml --sessions 100000

docs/simulate.md explains the keys of a scenario and the columns of the result.`
}

func (c *simulateCommand) Run(e *env.Env) error {
	cfg, err := scenario.Load(c.Scenario)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		e.Warn(w)
	}
	if c.Sessions < 0 || c.Sessions > 10*cfg.Sessions {
		return env.Usage("--sessions %d: must be more than 0, and at most ten times the scenario's %d", c.Sessions, cfg.Sessions)
	}
	s := simulated(cfg)
	s.Name = cmp.Or(s.Name, c.Scenario)
	if c.Seed >= 0 {
		s.Seed = uint64(c.Seed)
	}
	if c.Sessions > 0 {
		scale(s, c.Sessions)
	}
	ctx, cancel := untilStopped(e.Ctx)
	defer cancel()
	results, err := simulateAll(ctx, e, s)
	if err != nil {
		return err
	}
	report := simulate.NewReport(s, results)
	if c.SVG != "" {
		if err := os.WriteFile(c.SVG, plot.SVG(report), 0o644); err != nil {
			return err
		}
	}
	if c.JSON {
		return report.PrintJSON(e.Out)
	}
	return report.Print(e.Out)
}

// simulateAll runs each pool with each kind of clients, as many in parallel as
// there are processors. The results are in the scenario's order.
func simulateAll(ctx context.Context, e *env.Env, s *simulate.Scenario) ([]*simulate.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]*simulate.Result, len(s.Pools)*len(s.Clients))
	semaphore := make(chan struct{}, runtime.GOMAXPROCS(0))
	var running sync.WaitGroup
	var mu sync.Mutex // guards e.Err
	for i := range results {
		pool, clients := i/len(s.Clients), i%len(s.Clients)
		running.Go(func() {
			semaphore <- struct{}{}
			defer func() { <-semaphore }()
			began := time.Now()
			r, err := simulate.Run(ctx, s, pool, clients)
			if err != nil {
				cancel(err)
				return
			}
			results[i] = r
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(e.Err, "%s, %s: simulated in %.1f s\n", r.Pool, r.Clients, time.Since(began).Seconds())
		})
	}
	running.Wait()
	return results, context.Cause(ctx)
}

// scale changes a scenario's number of sessions, and all capacities and rates in
// proportion, so that things take as long as before.
func scale(s *simulate.Scenario, sessions int) {
	by := float64(sessions) / float64(s.Sessions)
	scaled := func(n int) int { return max(1, int(by*float64(n)+0.5)) }
	s.Sessions = sessions
	s.Servers.Capacity *= by
	s.Servers.Backlog = scaled(s.Servers.Backlog)
	for i := range s.Pools {
		p := &s.Pools[i]
		if r := p.Rebalance; r != nil {
			r.Rate *= by
		}
		if a := p.Admit; a != nil {
			a.Rate *= by
			a.Burst, a.Queue = scaled(a.Burst), scaled(a.Queue)
		}
	}
}

// simulated converts a parsed scenario file to the simulation's options.
func simulated(c *scenario.Scenario) *simulate.Scenario {
	timeouts := config.Defaults().Timeouts
	b := c.Backends
	s := &simulate.Scenario{
		Name: c.Name, Seed: uint64(c.Seed), Duration: c.Duration,
		Sessions: c.Sessions, Arrive: c.Arrive, RoundTrip: c.RoundTrip,
		Connect: timeouts.Connect, Handshake: timeouts.Handshake,
		Servers: simulate.Servers{Count: b.Count, Backups: b.Backups, Capacity: b.Capacity, Latency: b.Latency,
			Backlog: b.Backlog, Slowdown: b.Slowdown, Restart: b.Restart},
	}
	if b.Cold != nil {
		s.Servers.ColdFor, s.Servers.ColdSlowdown = b.Cold.For, b.Cold.Slowdown
	}
	if b.Hang != nil {
		s.Servers.HangWait, s.Servers.HangFor = b.Hang.Wait, b.Hang.For
	}
	for i := range c.Pools {
		s.Pools = append(s.Pools, simulatedPool(&c.Pools[i]))
	}
	for _, k := range c.Clients {
		s.Clients = append(s.Clients, simulate.Clients{Name: k.Name, Delay: k.Delay, Most: k.Max,
			Factor: k.Factor, Jitter: float64(k.Jitter.Percent) / 100, Timeout: k.Timeout})
	}
	for _, e := range c.Events {
		s.Events = append(s.Events, simulatedEvent(c, e))
	}
	return s
}

func simulatedPool(p *scenario.Pool) simulate.Pool {
	h, d := p.Health, p.Drain
	sp := simulate.Pool{
		Name: p.Name, Balance: p.Balance, ScaleIn: p.ScaleIn,
		MinHealthy: h.MinHealthy.Count, MinHealthyPercent: h.MinHealthy.Percent,
		MaxFails: h.MaxFails, FailTimeout: h.FailTimeout, SlowStart: h.SlowStart,
		Drain: simulate.Drain{Timeout: d.Timeout, Spread: d.Spread},
	}
	if a := p.Admit; a != nil {
		admit := simulate.Admit(*a)
		sp.Admit = &admit
	}
	if r := p.Reattach; r != nil {
		sp.Reattach = *r
	}
	if r := p.Rebalance; r != nil {
		sp.Rebalance = &simulate.Rebalance{Above: float64(r.Above) / 100, Rate: r.Rate, MinAge: r.MinAge}
	}
	return sp
}

func simulatedEvent(c *scenario.Scenario, e scenario.Event) simulate.Event {
	se := simulate.Event{At: e.At, Add: e.Add}
	if sc := e.Scale; sc != nil {
		scale := simulate.Scale(*sc)
		se.Scale = &scale
	}
	if r := e.Restart; r != nil {
		se.Restart = &simulate.Restart{Servers: c.Count(r.Backends), Parallel: r.Parallel, Pause: r.Pause}
	}
	if k := e.Kill; k != nil {
		se.Kill = &simulate.Kill{Servers: c.Count(k.Backends), Back: -1}
		if k.Back != nil {
			se.Kill.Back = *k.Back
		}
	}
	return se
}
