package conformance

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// The phases of the test.
const (
	phaseStart     = "start"
	phaseDrain     = "drain"
	phaseRebalance = "rebalance"
	phaseLoss      = "loss"
	phaseKill      = "kill"
)

// during runs one phase, and waits until everything that was sent has arrived.
func (t *test) during(ctx context.Context, phase string, lenient bool, run func(context.Context)) {
	if ctx.Err() != nil {
		return
	}
	t.renew(ctx)
	t.tally.enter(phase, lenient)
	t.phases[phase]++
	for _, c := range t.clients {
		c.takeSilence(time.Now())
	}
	run(ctx)
	t.tally.enter(phase, false)
	t.settle(ctx)
	if lenient {
		return
	}
	for _, c := range t.clients {
		if s := c.takeSilence(time.Now()); s > t.silence && !c.isOver() {
			t.silence, t.quietIn = s, phase
		}
	}
}

// drain moves all sessions away from a server, and lets the rebalancer bring some back.
func (t *test) drain(ctx context.Context, i int) {
	t.progress("drain: moving all sessions away from %s", t.o.URLs[i])
	t.during(ctx, phaseDrain, false, func(ctx context.Context) {
		t.patch(i, "drain")
		await(ctx, 2*t.o.patience+4*spread, func() bool { return t.sessions()[i] == 0 })
		sleep(ctx, t.o.calm)
	})
	t.progress("rebalance: moving some of them back")
	t.during(ctx, phaseRebalance, false, func(ctx context.Context) {
		t.patch(i, "ready")
		t.even(ctx)
		sleep(ctx, t.o.calm)
	})
}

// patch changes a server's administrative state in the balancer.
func (t *test) patch(i int, admin string) {
	if _, err := t.balancer.Balancer().PatchBackend(poolName, serverName(i), api.BackendPatch{Admin: admin}); err != nil {
		t.progress("%s: %v", t.o.URLs[i], err)
	}
}

// even waits until the servers have the same number of sessions. It gives up when no
// session can be moved, or when one has ended.
func (t *test) even(ctx context.Context) {
	_, before, _ := t.moves.counts("rebalance")
	await(ctx, t.o.patience, func() bool {
		n := t.sessions()
		least, most := n[0], n[0]
		for _, k := range n {
			least, most = min(least, k), max(most, k)
		}
		_, failed, _ := t.moves.counts("rebalance")
		t.uneven = most-least > 1
		return !t.uneven || failed-before > 2*t.o.Sessions || slices.ContainsFunc(t.clients, (*client).isOver)
	})
}

// lose has a server lost.
func (t *test) lose(ctx context.Context, phase string, i int, how func() error) {
	t.progress("%s: of %s", map[string]string{phaseLoss: "loss: cutting the connections", phaseKill: "kill: killing"}[phase], t.o.URLs[i])
	t.during(ctx, phase, true, func(ctx context.Context) {
		sleep(ctx, t.o.oldState) // so that there is state of before
		t.cuts[phase] += t.sessions()[i]
		began := time.Now()
		for _, c := range t.clients {
			c.lose(began)
		}
		if t.killErr = how(); t.killErr != nil {
			return
		}
		for _, c := range t.clients {
			c.gone()
		}
		await(ctx, t.o.patience, func() bool {
			for _, c := range t.clients {
				if !c.isOver() && !c.isResumed() {
					return false
				}
			}
			return true
		})
		t.resume[phase] = max(t.resume[phase], time.Since(began))
		sleep(ctx, t.o.calm) // what comes twice, comes soon
		told := t.tellers()
		for _, c := range t.clients {
			c.forgive(told)
		}
	})
}

// kill kills servers and starts them again.
func (t *test) kill(ctx context.Context) {
	if t.o.Kill == "" {
		return
	}
	for i := range t.links {
		t.lose(ctx, phaseKill, i, func() error { return t.command(ctx, "--kill", t.o.Kill, i) })
		if t.killErr != nil || t.o.Start == "" || ctx.Err() != nil {
			return
		}
		t.progress("kill: starting %s again", t.o.URLs[i])
		if t.killErr = t.restart(ctx, i); t.killErr != nil {
			return
		}
		t.during(ctx, phaseRebalance, false, func(ctx context.Context) { t.even(ctx); sleep(ctx, t.o.calm) })
	}
}
