package health

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// target checks one backend by one Spec. It has a goroutine, and during a round one
// more for each of its checks.
type target struct {
	backend *pool.Backend
	host    string // pool.Member.Host
	port    int    // pool.Member.HealthPort
	spec    Spec
	checks  []check // of spec.Checks
	log     *slog.Logger
	checked func(*pool.Backend, string, time.Duration) // Options.Checked
	cancel  context.CancelFunc                         // ends run

	mu      sync.Mutex // guards the following and, until stopped, changes of the backend
	stopped bool
	machine stateMachine
	agent   agentState
	reports []report // of spec.Checks
	stale   bool     // the reason of the backend's state is from other checks
	last    Last
}

// Last is what the last round of a backend's checks has found.
type Last struct {
	At       time.Time // when it began; zero if there was none yet
	OK       bool      // all checks have passed
	Reason   string    // of the first that hasn't
	Duration time.Duration
}

// report is what a check reported last, apart from its findings.
type report struct {
	capacity      float64
	problemLogged bool
}

// newTarget makes the target of a backend. old is its previous target with another
// Spec or name, or nil; newTarget stops it.
func newTarget(m pool.Member, s Spec, checks []check, c *Checker, old *target) *target {
	b := m.Backend
	t := &target{
		backend: b, host: m.Host, port: m.HealthPort, spec: s, checks: checks, log: c.log, checked: c.checked,
		agent:   newAgentState(),
		machine: newStateMachine(s, b.Operational(), true),
		reports: make([]report, len(s.Checks)),
	}
	for i := range t.reports {
		t.reports[i].capacity = 1
	}
	if old == nil {
		return t
	}
	old.stop()
	old.mu.Lock()
	defer old.mu.Unlock()
	t.stale, t.last = true, old.last
	t.machine = newStateMachine(s, old.machine.state, false)
	t.machine.cold = old.machine.cold
	for i, c := range s.Checks {
		if j := slices.IndexFunc(old.spec.Checks, func(o CheckSpec) bool { return sameKind(c, o) }); j >= 0 {
			t.reports[i] = old.reports[j]
		}
	}
	agent, hasAgent := s.agent()
	oldAgent, hadAgent := old.spec.agent()
	switch {
	case hasAgent && hadAgent && agent == oldAgent:
		t.agent = old.agent
	case old.agent.setAdmin && !b.Operated():
		b.SetAdmin(pool.Ready, "its agent is no longer asked")
	}
	t.updateLoad()
	return t
}

// stop stops the checks. The results of those under way are dropped.
func (t *target) stop() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	if t.cancel != nil {
		t.cancel()
	}
}

// release resets a backend that is no longer checked: old results must not apply
// forever.
func (t *target) release() {
	if t.backend.Removed() {
		return
	}
	t.backend.ClearChecks()
	t.backend.SetLoad(1)
	if t.agent.setAdmin && !t.backend.Operated() {
		t.backend.SetAdmin(pool.Ready, "it is no longer checked")
	}
}

// run checks until ctx ends, the first time after delay.
func (t *target) run(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		pause := t.round(ctx)
		timer.Reset(max(0, jittered(pause)-time.Since(begun)))
	}
}

// jittered is d plus or minus up to a tenth, so that checks of many backends, and of
// several balancers, don't coincide.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// round runs all checks at once and returns when the last is done. Each result counts
// as soon as it comes: a 503 need not wait for another check's timeout. It returns
// how long after its start the next round is due.
func (t *target) round(ctx context.Context) time.Duration {
	addr, ok := t.backend.Addr()
	if !ok {
		return t.spec.shortInterval()
	}
	begun := time.Now()
	findings := make([]finding, len(t.checks))
	var asking sync.WaitGroup
	for i, c := range t.checks {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, t.spec.Timeout)
			defer cancel()
			began := time.Now()
			found := c.run(ctx, addr)
			findings[i] = t.apply(i, found, time.Since(began))
		})
	}
	asking.Wait()

	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.last = Last{At: begun, OK: true, Duration: time.Since(begun)}
		if i := slices.IndexFunc(findings, func(f finding) bool { return f.verdict != passed }); i >= 0 {
			t.last.OK, t.last.Reason = false, findings[i].reason
		}
	}
	if t.machine.state == pool.Warming {
		return t.spec.shortInterval()
	}
	return t.spec.Interval
}

// apply acts on a result of spec.Checks[i], which took that long, and returns what follows
// from it.
func (t *target) apply(i int, a result, took time.Duration) (f finding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return f
	}
	if a.reportsLoad {
		t.logProblem(i, a.problem)
		if a.problem == "" {
			t.reports[i].capacity = a.capacity
		}
	}
	label := t.spec.Checks[i].label()
	f = a.finding
	if _, ok := t.spec.Checks[i].(Agent); ok {
		t.agent.apply(a.reply)
		t.reports[i].capacity = t.agent.capacity
		if a.reply.admin != nil {
			t.backend.SetAdmin(*a.reply.admin, label+": it says so")
		}
		f = t.agent.finding()
	}
	t.checked(t.backend, a.word(f), took)
	t.updateLoad()
	f.reason = label + ": " + f.reason
	switch {
	case t.machine.observe(i, f):
		t.backend.SetOperational(t.machine.state, f.reason)
		t.stale = false
	case t.updatesReason(i, f):
		t.backend.UpdateReason(t.machine.state, f.reason)
		t.stale = false
	}
	return f
}

// updatesReason reports whether a finding that didn't change the state is the better
// reason for it: what is wrong now, or after a change of the Spec, what the new
// checks find. mu must be held.
func (t *target) updatesReason(i int, f finding) bool {
	switch t.machine.state {
	case pool.Down:
		return f.verdict == failed && (t.stale || t.machine.counters[i].failures >= t.machine.fall)
	case pool.Draining:
		return f.verdict == drains
	}
	return t.stale && f.verdict == passed
}

// updateLoad sets the least capacity that is reported. mu must be held.
func (t *target) updateLoad() {
	least := 1.0
	for _, r := range t.reports {
		least = min(least, r.capacity)
	}
	t.backend.SetLoad(least)
}

// logProblem logs a problem that isn't a change of state, when it begins and when it
// ends. mu must be held.
func (t *target) logProblem(i int, problem string) {
	if t.reports[i].problemLogged == (problem != "") {
		return
	}
	t.reports[i].problemLogged = problem != ""
	level, text := slog.LevelWarn, problem
	if problem == "" {
		level, text = slog.LevelInfo, "fine again"
	}
	t.log.Log(context.Background(), level, fmt.Sprintf("backend %s: %s: %s", t.backend.Name, t.spec.Checks[i].label(), text),
		"pool", t.backend.Pool, "backend", t.backend.Name)
}
