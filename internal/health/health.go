// Package health asks the backends of a pool, again and again, whether they
// take sessions: by HTTP, by a whole WebSocket, by a TCP connect, or an agent
// beside them. What it finds it tells pool.Backend, which acts on it and logs
// it.
//
//	Checker ── a target for each backend ── a probe for each kind of check
//	                 │ when                      │ asks
//	                 ▼                           ▼
//	              machine ◀── finding ──────── answer
//	                 │ which state
//	                 ▼
//	            pool.Backend
package health

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// atOnce is how many backends are checked together at first. More are spread
// over a second, lest a reload of a thousand is a burst of connections.
const atOnce = 16

// Options are what a Checker needs from outside.
type Options struct {
	Log *slog.Logger // nil means no log
	// Dial opens the connection of a check; nil means a plain net.Dialer. It
	// is where TLS to backends belongs. It must mind ctx.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Checker runs the checks. Close it when done.
type Checker struct {
	log     *slog.Logger
	probes  func(*pool.Backend, Spec) [kinds]probe
	running sync.WaitGroup

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
		// A check is over long before a TCP keepalive would be due.
		o.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	return &Checker{
		log:     o.Log,
		probes:  func(b *pool.Backend, s Spec) [kinds]probe { return newProbes(o.Dial, b, s) },
		targets: map[*pool.Backend]*target{},
	}
}

// Apply has the members of each pool that has a Spec checked from now on, and
// no others. Those that were checked by an equal Spec before go on undisturbed,
// with their counts; new ones are asked at once, or within a second where there
// are many. It doesn't wait for answers.
//
// It is to be called after pool.Registry.Apply, with its pools.
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
			case targets[b] != nil:
			case old != nil && old.spec.Equal(spec):
				targets[b] = old
			default:
				targets[b] = newTarget(b, spec, c.probes(b, spec), c.log, old)
				started = append(started, targets[b])
			}
		}
	}
	for b, t := range c.targets {
		if targets[b] == nil {
			t.end()
			t.release()
		}
	}
	c.targets = targets
	for i, t := range started {
		var delay time.Duration
		if len(started) > atOnce {
			delay = t.spec.quick() * time.Duration(i) / time.Duration(len(started))
		}
		ctx, cancel := context.WithCancel(context.Background())
		t.cancel = cancel
		c.running.Go(func() { t.run(ctx, delay) })
	}
}

// Close ends all checks and returns when they have. Backends stay in the state
// they are in. Apply does nothing from then on.
func (c *Checker) Close() {
	c.mu.Lock()
	c.closed = true
	for _, t := range c.targets {
		t.end()
	}
	c.targets = nil
	c.mu.Unlock()
	c.running.Wait()
}
