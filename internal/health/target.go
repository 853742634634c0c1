package health

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// target is one backend that is checked, by one Spec. It has a goroutine, and
// while it asks one more for each kind of check.
type target struct {
	backend *pool.Backend
	spec    Spec
	probes  [kinds]probe // nil where the Spec hasn't that kind
	log     *slog.Logger
	cancel  context.CancelFunc // ends run

	mu       sync.Mutex // guards the following and, until ended, who changes the backend
	ended    bool
	machine  machine
	standing standing
	capacity [kinds]float64 // by what each kind of check heard last
	troubled [kinds]bool    // a log line told so
}

// newTarget makes the target of a backend. old is the one it takes over from,
// which had another Spec, or nil; it is ended.
func newTarget(b *pool.Backend, s Spec, probes [kinds]probe, log *slog.Logger, old *target) *target {
	t := &target{
		backend: b, spec: s, probes: probes, log: log,
		standing: newStanding(),
		machine:  newMachine(s, b.Operational(), true),
	}
	for k := range t.capacity {
		t.capacity[k] = 1
	}
	if old == nil {
		return t
	}
	old.end()
	old.mu.Lock()
	defer old.mu.Unlock()
	t.machine = newMachine(s, old.machine.state, false)
	t.machine.cold = old.machine.cold
	for k := range kinds {
		if s.has(kind(k)) && old.spec.has(kind(k)) {
			t.capacity[k], t.troubled[k] = old.capacity[k], old.troubled[k]
		}
	}
	switch {
	case s.Agent != nil && old.spec.Agent != nil && *s.Agent == *old.spec.Agent:
		t.standing = old.standing
	case old.standing.admin:
		b.SetAdmin(pool.Ready, "its agent is no longer asked")
	}
	t.setLoad()
	return t
}

// end stops the checks. Findings that are under way change nothing any more.
func (t *target) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	if t.cancel != nil {
		t.cancel()
	}
}

// release gives back a backend that has ended to be checked and may go on
// without: whatever was found must not stand forever.
func (t *target) release() {
	if t.backend.Removed() {
		return
	}
	const why = "it is no longer checked"
	t.backend.SetOperational(pool.Up, why)
	t.backend.SetLoad(1)
	if t.standing.admin {
		t.backend.SetAdmin(pool.Ready, why)
	}
}

// run checks until ctx ends, at first after a delay.
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

// jittered is d, a tenth more or less, so that checks of many backends, and of
// several balancers, don't fall into step.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// round asks all kinds at once and returns when the last has answered. Each
// answer counts as soon as it is there: a 503 need not wait for a timeout. It
// returns how long after its begin the next is due.
func (t *target) round(ctx context.Context) time.Duration {
	addr, ok := t.backend.Addr()
	if !ok {
		return t.spec.quick()
	}
	var asking sync.WaitGroup
	for k, p := range t.probes {
		if p == nil {
			continue
		}
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, t.spec.Timeout)
			defer cancel()
			t.take(kind(k), p.ask(ctx, addr))
		})
	}
	asking.Wait()

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.machine.state == pool.Warming {
		return t.spec.quick()
	}
	return t.spec.Interval
}

// take acts on an answer.
func (t *target) take(k kind, a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	if a.heard {
		t.tellTrouble(k, a.trouble)
		if a.trouble == "" {
			t.capacity[k] = a.capacity
		}
	}
	f := a.finding
	if k == kindAgent {
		t.standing.hear(a.words)
		t.capacity[k] = t.standing.capacity
		if a.words.admin != nil {
			t.backend.SetAdmin(*a.words.admin, t.spec.label(k)+": it says so")
		}
		f = t.standing.finding()
	}
	t.setLoad()
	f.reason = t.spec.label(k) + ": " + f.reason
	if t.machine.observe(k, f) {
		t.backend.SetOperational(t.machine.state, f.reason)
	}
}

// setLoad takes the least of what is reported. Under mu.
func (t *target) setLoad() {
	least := 1.0
	for _, c := range t.capacity {
		least = min(least, c)
	}
	t.backend.SetLoad(least)
}

// tellTrouble logs what is wrong and is no change of state, when it begins and
// when it is over. Under mu.
func (t *target) tellTrouble(k kind, trouble string) {
	if t.troubled[k] == (trouble != "") {
		return
	}
	t.troubled[k] = trouble != ""
	level, text := slog.LevelWarn, trouble
	if trouble == "" {
		level, text = slog.LevelInfo, "fine again"
	}
	t.log.Log(context.Background(), level, fmt.Sprintf("backend %s: %s: %s", t.backend.Name, t.spec.label(k), text),
		"pool", t.backend.Pool, "backend", t.backend.Name)
}
