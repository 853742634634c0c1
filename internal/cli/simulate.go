package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/simulate"
	"github.com/holdfast-ws/holdfast/internal/simulate/plot"
)

type simulateCommand struct {
	Scenario string `arg:"" placeholder:"SCENARIO.yaml" help:"The scenario to replay."`
	SVG      string `name:"svg" placeholder:"FILE" help:"Plot handshakes a second, sessions and clients over time into a file."`
	JSON     bool   `name:"json" help:"Print one JSON object (docs/simulate.md) instead of a table."`
	Sessions int    `placeholder:"N" help:"So many sessions in place of the scenario's; what backends and admit can do is scaled likewise."`
	Seed     int64  `default:"-1" placeholder:"N" help:"Another seed than the scenario's."`
}

// Help is kong's detailed help.
func (*simulateCommand) Help() string {
	return `Replays what becomes of a million sessions when backends are restarted, die or
are added. Who gets which session, who waits and who is closed when is decided by
the balancer's own code; clients, backends and time are simulated. The same seed
gives the same figures.

  holdfast simulate docs/storms/deploy.yaml --svg deploy.svg
  holdfast simulate docs/storms/deploy.yaml --sessions 100000

docs/simulate.md has the keys of a scenario, and what the columns mean.`
}

func (c *simulateCommand) Run(env *environment) error {
	cfg, err := config.LoadScenario(c.Scenario)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(env.err, "%v (warning)\n", w)
	}
	if c.Sessions < 0 || c.Sessions > 10*cfg.Sessions {
		return usage("--sessions %d: must be more than 0, and at most ten times the scenario's %d", c.Sessions, cfg.Sessions)
	}
	s := scenario(cfg)
	s.Name = cmp.Or(s.Name, c.Scenario)
	if c.Seed >= 0 {
		s.Seed = uint64(c.Seed)
	}
	if c.Sessions > 0 {
		scale(s, c.Sessions)
	}
	ctx, cancel := untilStopped(env.ctx)
	defer cancel()
	results, err := simulateAll(ctx, env, s)
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
		return report.PrintJSON(env.out)
	}
	return report.Print(env.out)
}

// simulateAll runs each pool with each kind of clients, as many at a time as
// there are processors. The results are in the scenario's order.
func simulateAll(ctx context.Context, env *environment, s *simulate.Scenario) ([]*simulate.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]*simulate.Result, len(s.Pools)*len(s.Clients))
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	var running sync.WaitGroup
	var mu sync.Mutex // of env.err
	for i := range results {
		pool, clients := i/len(s.Clients), i%len(s.Clients)
		running.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			began := time.Now()
			r, err := simulate.Run(ctx, s, pool, clients)
			if err != nil {
				cancel(err)
				return
			}
			results[i] = r
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(env.err, "%s, %s: simulated in %.1f s\n", r.Pool, r.Clients, time.Since(began).Seconds())
		})
	}
	running.Wait()
	return results, context.Cause(ctx)
}

// scale makes a scenario one of so many sessions, and leaves as it is how long
// things take: a backend is as slow for each of its sessions as before.
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

// scenario turns what a file says into what is simulated.
func scenario(c *config.Scenario) *simulate.Scenario {
	timeouts := config.Defaults().Timeouts
	b := c.Backends
	s := &simulate.Scenario{
		Name: c.Name, Seed: uint64(c.Seed), Duration: c.Duration,
		Sessions: c.Sessions, Arrive: c.Arrive, RoundTrip: c.RoundTrip,
		Connect: timeouts.Connect, Handshake: timeouts.Handshake,
		Servers: simulate.Servers{Count: b.Count, Capacity: b.Capacity, Latency: b.Latency,
			Backlog: b.Backlog, Slowdown: b.Slowdown, Restart: b.Restart},
	}
	if b.Hang != nil {
		s.Servers.HangWait, s.Servers.HangFor = b.Hang.Wait, b.Hang.For
	}
	for i := range c.Pools {
		s.Pools = append(s.Pools, simulatedPool(&c.Pools[i]))
	}
	for _, k := range c.Clients {
		s.Clients = append(s.Clients, simulate.Clients{Name: k.Name, Delay: k.Delay, Most: k.Max,
			Factor: k.Factor, Jitter: float64(k.Jitter) / 100, Timeout: k.Timeout})
	}
	for _, e := range c.Events {
		s.Events = append(s.Events, simulatedEvent(e))
	}
	return s
}

func simulatedPool(p *config.Pool) simulate.Pool {
	h, d := p.Health, p.Drain
	sp := simulate.Pool{
		Name: p.Name, Balance: p.Balance,
		MinHealthy: h.MinHealthy, MinHealthyPercent: h.MinHealthyPercent,
		MaxFails: h.MaxFails, FailTimeout: h.FailTimeout, SlowStart: h.SlowStart,
		Drain: simulate.Drain{Timeout: d.Timeout, Spread: d.Spread},
	}
	if a := p.Admit; a != nil {
		sp.Admit = &simulate.Admit{Rate: a.Rate, Burst: a.Burst, Queue: a.Queue, QueueTimeout: a.QueueTimeout, Ramp: a.Ramp}
	}
	if r := p.Reattach; r != nil {
		sp.Reattach = simulate.Reattach{Drain: r.Drain, Loss: r.Loss, Rebalance: r.Rebalance, Timeout: r.Timeout}
	}
	if r := p.Rebalance; r != nil {
		sp.Rebalance = &simulate.Rebalance{Above: float64(r.Above) / 100, Rate: r.Rate, MinAge: r.MinAge}
	}
	return sp
}

func simulatedEvent(e config.SimEvent) simulate.Event {
	se := simulate.Event{At: e.At, Add: e.Add}
	if r := e.Restart; r != nil {
		se.Restart = &simulate.Restart{Servers: r.Backends, Parallel: r.Parallel, Pause: r.Pause}
	}
	if k := e.Kill; k != nil {
		se.Kill = &simulate.Kill{Servers: k.Backends, Back: -1}
		if k.Back != nil {
			se.Kill.Back = *k.Back
		}
	}
	return se
}
