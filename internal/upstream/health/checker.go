// Package health checks at an interval whether the backends of a pool take
// sessions: by HTTP, by a whole WebSocket, by a TCP connect, or by asking an agent
// beside them. It reports the results to pool.Backend, which acts on them and logs
// them.
//
//	Checker ── a target for each backend ── a check for each kind that is configured
//	                 │ when                      │ sends
//	                 ▼                           ▼
//	            stateMachine ◀── finding ────── result
//	                 │ which state
//	                 ▼
//	            pool.Backend
//
// The application makes one Checker and calls Apply at each reload. The package
// doesn't see the sessions' traffic: ejecting backends whose handshakes fail is
// done by upstream/pool.
//
// A new kind of check is a file with a CheckSpec and its check.
package health

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// startAtOnce is how many new backends are checked at the same time. More are
// spread over a second, so that a reload of a thousand doesn't cause a burst of
// connections.
const startAtOnce = 16

// Options are a Checker's dependencies.
type Options struct {
	Log *slog.Logger // nil means no log
	// Dial opens the connection of a check; nil means a plain net.Dialer. It must
	// respect ctx.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Checked is called after each check, with one of Results and the time that it took.
	// It must not block, and may be nil.
	Checked func(b *pool.Backend, result string, took time.Duration)
}

// The results of checks.
const (
	resultFailed   = "failed"
	resultPassed   = "passed"
	resultDraining = "draining"  // it takes no more sessions
	resultSilent   = "no_answer" // an agent can't be reached, which changes nothing
)

// Results lists the results of checks.
func Results() []string { return []string{resultPassed, resultFailed, resultDraining, resultSilent} }

// Checker runs the checks. The caller must Close it.
type Checker struct {
	log       *slog.Logger
	checked   func(*pool.Backend, string, time.Duration)
	newChecks func(pool.Member, Spec) []check
	running   sync.WaitGroup

	mu      sync.Mutex // guards the following
	targets map[*pool.Backend]*target
	closed  bool
}

// New makes a Checker that checks nothing yet.
func New(o Options) *Checker {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		// A check ends long before a TCP keepalive would be due.
		o.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	if o.Checked == nil {
		o.Checked = func(*pool.Backend, string, time.Duration) {}
	}
	return &Checker{
		log:       o.Log,
		checked:   o.Checked,
		newChecks: func(m pool.Member, s Spec) []check { return newChecks(o.Dial, m, s) },
		targets:   map[*pool.Backend]*target{},
	}
}

// Apply checks the members of each pool that has a Spec from now on, and no others.
// Backends that were checked by an equal Spec before keep their counts and their
// rhythm. Those that an operator has put into maintenance aren't checked, and keep their
// states. New ones are checked at once, or within a second if there are many. Apply
// doesn't wait for results.
//
// Call it after pool.Registry.Apply, with the pools that returned.
func (c *Checker) Apply(pools map[string]*pool.Pool, specs map[string]Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	targets := map[*pool.Backend]*target{}
	var started []*target
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		spec := specs[name].withDefaults()
		if !spec.Active() {
			continue
		}
		for _, m := range pools[name].Members {
			b := m.Backend
			old := c.targets[b]
			switch {
			case b.InMaintenance():
			case targets[b] != nil:
			case old != nil && old.spec.Equal(spec) && (old.host == m.Host || spec.TLS == nil) && old.port == m.HealthPort:
				targets[b] = old
			default:
				targets[b] = newTarget(m, spec, c.newChecks(m, spec), c, old)
				started = append(started, targets[b])
			}
		}
	}
	for b, t := range c.targets {
		if targets[b] == nil {
			t.stop()
			if !b.InMaintenance() {
				t.release()
			}
		}
	}
	c.targets = targets
	for i, t := range started {
		var delay time.Duration
		if len(started) > startAtOnce {
			delay = t.spec.shortInterval() * time.Duration(i) / time.Duration(len(started))
		}
		ctx, cancel := context.WithCancel(context.Background())
		t.cancel = cancel
		c.running.Go(func() { t.run(ctx, delay) })
	}
}

// Last returns what the last round of the checks of each backend has found. Backends that
// weren't checked yet are missing.
func (c *Checker) Last() map[*pool.Backend]Last {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[*pool.Backend]Last, len(c.targets))
	for b, t := range c.targets {
		t.mu.Lock()
		if !t.last.At.IsZero() {
			all[b] = t.last
		}
		t.mu.Unlock()
	}
	return all
}

// Close ends all checks and waits for them. Backends keep their states. Apply does
// nothing after that.
func (c *Checker) Close() {
	c.mu.Lock()
	c.closed = true
	for _, t := range c.targets {
		t.stop()
	}
	c.targets = nil
	c.mu.Unlock()
	c.running.Wait()
}
