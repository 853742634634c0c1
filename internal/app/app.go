// Package app puts a balancer together: it turns a configuration into the
// plain options of the stages, builds generations and swaps them, and holds
// what must survive a reload.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admission"
	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/closing"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/discovery"
	"github.com/holdfast-ws/holdfast/internal/drain"
	"github.com/holdfast-ws/holdfast/internal/health"
	"github.com/holdfast-ws/holdfast/internal/listener"
	"github.com/holdfast-ws/holdfast/internal/logging"
	"github.com/holdfast-ws/holdfast/internal/metrics"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/rebalance"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Options are what the command line gives.
type Options struct {
	// Load reads the configuration, at the start and at every reload.
	Load func() (*config.Config, error)
	// File is the configuration's file; "" where it came from flags, which
	// can't be reloaded.
	File string
	// Admin is the admin address, in place of the configuration's; "" leaves
	// that one.
	Admin   string
	Version string
	LogTo   io.Writer
	// Resolver looks up backends' names; nil is the system's.
	Resolver pool.Resolver
}

// App is a running balancer.
type App struct {
	options Options
	log     *logging.Log
	slog    *slog.Logger
	started time.Time

	registry   *pool.Registry
	checker    *health.Checker
	discovery  *discovery.Watcher
	drainer    *drain.Drainer
	rebalancer *rebalance.Rebalancer
	gate       *admission.Gate
	names      session.Names
	engine     relay.Engine
	proxy      *proxy.Proxy
	listeners  *listener.Set
	metrics    *metrics.Metrics
	opened     atomic.Uint64
	tidier     tidier
	spare      processors
	admin      *adminServer

	reload  sync.Mutex // held by who changes the following
	current atomic.Pointer[config.Config]
	queues  map[string]*admit.Pool // of the pools that have one, by name
	stopped bool
}

// Start brings a balancer up: when it returns, the listeners accept. The
// caller ends it with Shutdown.
func Start(o Options) (_ *App, err error) {
	c, err := o.Load()
	if err != nil {
		return nil, err
	}
	if o.Admin != "" {
		c.Admin.Address = o.Admin
	}
	a := &App{options: o, started: time.Now(), queues: map[string]*admit.Pool{}}
	a.log = logging.New(o.LogTo, c.Log.Format, level(c))
	a.slog = a.log.Logger()
	a.metrics = metrics.New(source{a}, metrics.Options{Version: o.Version, HandshakeResults: proxy.Results(),
		AffinityResults: proxy.AffinityResults(), BackendStates: pool.StateWords(),
		ReattachReasons: proxy.MoveReasons(), ReattachResults: proxy.MoveResults()})
	a.drainer = a.newDrainer()
	a.registry = pool.New(pool.Options{Resolver: o.Resolver, Logger: a.slog, Changed: a.drainer.Look})
	a.checker = health.New(health.Options{Log: a.slog})
	a.discovery = discovery.New(discovery.Options{Log: a.slog, Changed: a.rediscover})
	a.gate = admission.New(admission.Options{MaxSessions: c.Limits.MaxSessions, MaxHandshakes: c.Limits.MaxHandshakes})
	undo := []func(){func() { a.log.Close() }, a.registry.Close, a.drainer.Close, a.checker.Close, a.discovery.Close}
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	ledger := &closing.Ledger{GiveBack: a.giveBack, Tellers: []closing.Teller{logTeller{a}, countTeller{a.metrics}}}
	if a.engine, err = newEngine(c.Engine, runtime.NumCPU(), a.slog, ledger.Ended); err != nil {
		return nil, err
	}
	undo = append(undo, a.engine.Close)
	a.tidier.trim = a.engine.Trim
	a.spare.set = a.engine.SpareProcessors
	a.spare.set(false)
	// Changes that are discovered from here on wait for the end of Start.
	a.reload.Lock()
	defer a.reload.Unlock()
	a.current.Store(c)
	a.discovery.Apply(discoverySpecs(c), firstFound)
	g, _, err := a.build(c, 1)
	if err != nil {
		return nil, err
	}
	a.proxy = proxy.New(proxy.Options{Gate: a.gate, Engine: a.engine, Watcher: watcher{a}, Log: a.slog, HTTPDone: a.metrics.HTTPDone,
		HTTPBegins: a.spare.enter, HTTPEnds: a.spare.leave, GiveBack: a.giveBackLease}, g)
	undo = append(undo, func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		a.proxy.Close(ctx)
	})
	a.rebalancer = a.newRebalancer()
	undo = append(undo, a.rebalancer.Close)
	a.listeners = &listener.Set{Network: a.engine, Serve: a.proxy.Serve}
	// The admin interface answers from here on, but reloads wait for the end.
	if c.Admin.Address != "" {
		if a.admin, err = a.serveAdmin(c.Admin.Address); err != nil {
			return nil, err
		}
		undo = append(undo, a.admin.close)
	}
	if err = a.listeners.Apply(listenerSpecs(c)); err != nil {
		return nil, err
	}
	a.metrics.ConfigStarted(a.started)
	a.warn(c.Warnings)
	a.slog.Info("started", "version", o.Version, "listeners", a.Addresses(), "admin", a.AdminAddr(),
		"engine", engineName(a.engine), "max_sessions", a.gate.Limits().MaxSessions)
	return a, nil
}

// Reload takes the changed configuration. Whatever is wrong with it, nothing
// has changed then. Live sessions are left alone, but for those of backends
// that are gone from it.
func (a *App) Reload() (warnings []string, err error) {
	a.spare.enter()
	defer a.spare.leave()
	a.reload.Lock()
	defer a.reload.Unlock()
	defer func() {
		a.metrics.ConfigLoaded(err == nil, time.Now())
		if err != nil {
			a.slog.Error("reload refused; nothing has changed", "error", err)
		}
	}()
	if a.stopped {
		return nil, errors.New("the balancer is shutting down")
	}
	if a.options.File == "" {
		return nil, errors.New("there is no file to reload: the balancer was started with --listen and --backend")
	}
	c, err := a.options.Load()
	if err != nil {
		return nil, err
	}
	if a.options.Admin != "" {
		c.Admin.Address = a.options.Admin
	}
	// Listeners first: they are what may still fail. A new one that takes a
	// connection before the swap below serves it by the old routes, which is
	// no worse than it having come a moment earlier.
	if err := a.listeners.Apply(listenerSpecs(c)); err != nil {
		return nil, err
	}
	old := a.current.Load()
	a.discovery.Apply(discoverySpecs(c), firstFound)
	g, left, err := a.build(c, a.proxy.Generation().Number+1)
	if err != nil {
		a.discovery.Apply(discoverySpecs(old), 0)
		return nil, errors.Join(err, a.listeners.Apply(listenerSpecs(old)))
	}
	a.proxy.Swap(g)
	a.current.Store(c)
	a.rebalancer.Look()
	a.log.SetFormatLevel(c.Log.Format, level(c))
	for _, w := range c.Warnings {
		warnings = append(warnings, w.Error())
	}
	for _, what := range needRestart(old, c) {
		warnings = append(warnings, fmt.Sprintf("%s: %s changed, which takes effect at the next start", a.options.File, what))
	}
	a.slog.Info("reloaded", "generation", g.Number, "backends_left", len(left))
	for _, w := range warnings {
		a.slog.Warn(w)
	}
	return warnings, nil
}

// firstFound bounds the wait for the first answers of a new discovery.
const firstFound = 2 * time.Second

// rediscover takes the backends that were found for a pool. Everything else
// stays as it is.
func (a *App) rediscover(name string) {
	a.spare.enter()
	defer a.spare.leave()
	a.reload.Lock()
	defer a.reload.Unlock()
	c := a.current.Load()
	if a.proxy == nil || a.stopped {
		return
	}
	g, left, err := a.build(c, a.proxy.Generation().Number+1)
	if err != nil {
		a.slog.Error("what was discovered can't be used; nothing has changed", "pool", name, "error", err)
		return
	}
	a.proxy.Swap(g)
	a.slog.Info("the backends of a pool changed", "pool", name, "generation", g.Number,
		"backends", len(g.Pools[name].Picker.Members()), "backends_left", len(left))
}

// giveBack returns what a session held.
func (a *App) giveBack(s session.Summary) {
	a.giveBackLease(s.Backend)
	a.proxy.Forget(s.ID)
	a.gate.SessionEnded()
	a.tidier.note(time.Now())
}

func (a *App) giveBackLease(backend uint32) {
	if b := a.registry.Backend(backend); b != nil {
		b.Release()
	}
}

func (a *App) warn(ws []config.Error) {
	for _, w := range ws {
		a.slog.Warn(w.Error())
	}
}

// Addresses are the addresses listened on, in the order of the configuration.
func (a *App) Addresses() []string {
	var all []string
	for _, l := range a.listeners.List() {
		all = append(all, l.Addr.String())
	}
	return all
}

// AdminAddr is the admin address as it is bound; "" where there is none.
func (a *App) AdminAddr() string {
	if a.admin == nil {
		return ""
	}
	return a.admin.addr
}

// Log is the balancer's log.
func (a *App) Log() *slog.Logger { return a.slog }
