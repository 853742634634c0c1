package bench

import (
	"context"
	"runtime"
	"time"
)

// Names of targets in a report.
const (
	targetURL       = "target"
	targetBalancer  = "balancer"
	targetDirect    = "direct"
	targetOneServer = "one server"
)

// Run runs a benchmark. It returns an error only if it couldn't start; later failures
// are in the report. If ctx ends, Run stops sending, closes the sessions in order and
// returns a report of the results so far.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	epoch := time.Now()
	groups, err := o.groups(ctx, epoch)
	if err != nil {
		return nil, err
	}
	const reserved = 32 // descriptors for the runtime, the terminal and lookups
	if err := checkDescriptors(o.maxOpen()*len(groups) + reserved); err != nil {
		return nil, err
	}
	p := startProgress(o.Progress, o.Live, groups)
	defer p.stop()
	r := &run{o: &o, groups: groups, progress: p}
	cpu := processCPU()
	if o.Mode == Churn {
		r.rounds(ctx)
	} else {
		r.runHeld(ctx)
	}
	r.phase("closed", 0)
	p.stop()
	rep := r.report()
	rep.Interrupted = ctx.Err() != nil
	rep.Took = time.Since(epoch)
	rep.GeneratorCPU = processCPU() - cpu
	rep.CPUs = runtime.GOMAXPROCS(0)
	return rep, nil
}

func (o *Options) groups(ctx context.Context, epoch time.Time) ([]*group, error) {
	name := targetURL
	var groups []*group
	if len(o.Direct) > 0 {
		name = targetBalancer
		g, err := o.newGroup(ctx, targetDirect, epoch, o.Direct...)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	g, err := o.newGroup(ctx, name, epoch, o.URL)
	return append(groups, g), err
}

// maxOpen returns the maximum number of concurrent connections of a target.
func (o *Options) maxOpen() int {
	if o.Mode == Churn && o.Rate == 0 {
		return o.Parallel
	}
	return o.Sessions
}

type run struct {
	o        *Options
	groups   []*group // with Options.Direct, the servers come before the balancer
	progress *progress
	capacity []Capacity
	rampTook time.Duration
	heldFor  time.Duration
}

func (r *run) phase(what string, lasts time.Duration) {
	if r.o.Phase != nil {
		r.o.Phase(what)
	}
	r.progress.phase(what, lasts)
}

// runHeld opens all sessions, uses them and closes them.
func (r *run) runHeld(ctx context.Context) {
	r.phase("opening", 0)
	start := time.Now()
	openAll(ctx, r.groups)
	r.rampTook = time.Since(start)
	if r.o.Mode == Idle {
		r.hold(ctx, r.o.Duration)
	} else {
		r.hold(ctx, r.o.Hold)
		r.rounds(ctx)
	}
	if r.o.Capacity && ctx.Err() == nil {
		r.findCapacity(ctx)
	}
	r.phase("closing", 0)
	closeAll(ctx, r.groups)
}

func (r *run) hold(ctx context.Context, d time.Duration) {
	r.phase("holding", d)
	start := time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	r.heldFor = time.Since(start)
}

// rounds loads the targets in turn. The order is reversed in each round (A B, B A,
// A B …), so that a slow drift affects all targets equally.
func (r *run) rounds(ctx context.Context) {
	n := r.o.rounds()
	d := r.o.Duration / time.Duration(n)
	r.phase("loading", r.o.Duration*time.Duration(len(r.groups)))
	for round := range n {
		for i := range r.groups {
			if round%2 == 1 {
				i = len(r.groups) - 1 - i
			}
			if ctx.Err() != nil {
				return
			}
			g := r.groups[i]
			if r.o.Mode == Churn {
				g.finished = append(g.finished, g.churn(ctx, r.o.Rate, d))
			} else if senders := g.senders(); len(senders) > 0 {
				g.finished = append(g.finished, g.exchange(ctx, senders, r.o.Rate, d, 0))
			}
		}
	}
}

// senders returns the sessions that send messages.
func (g *group) senders() []*session {
	if g.o.Mode == Fanout {
		return g.sessions[:min(g.o.Senders, len(g.sessions))]
	}
	return g.sessions
}
