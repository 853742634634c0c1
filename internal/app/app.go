// Package app runs a balancer: it turns a configuration into the options of the
// stages, builds generations and swaps them at a reload, and owns everything that
// survives a reload. The command line starts it; it doesn't read files itself.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
	"github.com/holdfast-ws/holdfast/internal/identity/subrequest"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/events"
	"github.com/holdfast-ws/holdfast/internal/ops/logging"
	"github.com/holdfast-ws/holdfast/internal/ops/metrics"
	"github.com/holdfast-ws/holdfast/internal/ops/service"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/reattach"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/activation"
	"github.com/holdfast-ws/holdfast/internal/stage/closing"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/listener"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/stage/secure"
	"github.com/holdfast-ws/holdfast/internal/stage/sticky"
	"github.com/holdfast-ws/holdfast/internal/tls/acme"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
	"github.com/holdfast-ws/holdfast/internal/upstream/health"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
)

// Options are set by the command line.
type Options struct {
	// Load returns a configuration that config.Validate has accepted. It is called
	// at the start and at every reload, and its result is owned by the App.
	Load func() (*config.Config, error)
	// File is the configuration file; "" if there is none, and then nothing can
	// be reloaded, unless a program says otherwise.
	File string
	// Program says that Load returns what a program has built. Reload works without a
	// file.
	Program bool
	// Feeds has the lists of backends of pools with a Feed; nil if there are none.
	Feeds *discovery.Feeds
	// Admin is used instead of the configuration's admin address, unless it is
	// zero.
	Admin   config.Address
	Version string
	LogTo   io.Writer
	// Systemd makes the balancer use the sockets that systemd gives it, and tell systemd
	// what it is doing; see sd_listen_fds(3) and sd_notify(3). Without systemd it has no
	// effect.
	Systemd bool
	// Collectors have metrics of the program that runs the balancer, which are served with
	// its own. They are asked at every scrape, the first of which may be before Start returns.
	Collectors []prometheus.Collector
	// Resolver looks up the names of backends; nil means the system's.
	Resolver pool.Resolver
}

// App is a running balancer.
type App struct {
	options Options
	log     *logging.Log
	slog    *slog.Logger
	started time.Time

	registry     *pool.Registry
	checker      *health.Checker
	discovery    *discovery.Watcher
	drainer      *drain.Drainer
	downs        downs
	rebalancer   *rebalance.Rebalancer
	gate         *overload.Gate
	limiter      *limit.Limiter
	sticky       *sticky.Tables
	acme         *acme.Group
	certs        *certs.Watcher
	keys         *jwtkeys.Store
	asks         *subrequest.Store
	claims       sessionClaims
	closeReasons closeReasons
	names        session.Names
	engine       relay.Engine
	proxy        *proxy.Proxy
	listeners    *listener.Set
	metrics      *metrics.Metrics
	opened       atomic.Uint64
	trimmer      memoryTrimmer
	spare        processors
	admin        *adminServer
	events       *events.Broker
	overloads    overloads
	manager      *service.Manager    // nil if there is none
	sockets      *activation.Sockets // nil if there are none
	managing     managing

	reload  sync.Mutex // held while the following change
	current atomic.Pointer[config.Config]
	ending  atomic.Pointer[time.Time]     // when the shutdown began; nil before
	coming  atomic.Pointer[config.Config] // the one that a reload makes current; nil between reloads
	queues  map[string]*ratelimit.Limiter // of the pools that have one, by name
	stopped bool
	// backendTLS has the pools that speak TLS to their backends, by name.
	backendTLS map[string]*backendtls.Client
	auth       *authSet
	listening  *listening // what the open listeners need; nil before there are some
	warned     []string   // by the last start or reload

	announced atomic.Bool // see Announce
}

// Start starts a balancer: when it returns, the listeners accept connections. The
// caller stops it with Shutdown.
func Start(o Options) (_ *App, err error) {
	c, err := o.Load()
	if err != nil {
		return nil, err
	}
	if !o.Admin.IsZero() {
		c.Admin.Address = o.Admin
	}
	a := &App{options: o, started: time.Now(), queues: map[string]*ratelimit.Limiter{}, events: events.New(events.Kept)}
	a.metrics = metrics.New(source{a}, metrics.Options{Version: o.Version, HandshakeResults: proxy.Results(), Opened: proxy.ResultOpened, TLSResults: secure.Results(), BackendTLSResults: backendtls.Results(), CheckResults: health.Results(),
		AffinityResults: generation.AffinityResults(), BackendStates: backendStates(o.Feeds != nil),
		ReattachReasons: reattach.Reasons(), ReattachResults: reattach.Results(), AuthResults: subrequest.Results(), Collectors: o.Collectors})
	if a.backendTLS, err = a.readBackendTLS(c); err != nil {
		return nil, err
	}
	a.log = logging.New(o.LogTo, c.Log.Format, level(c))
	a.slog = a.log.Logger()
	a.overloads.log = a.noted(api.EventOverload)
	if err := a.useSystemd(); err != nil {
		a.log.Close()
		return nil, err
	}
	a.drainer = a.newDrainer()
	a.registry = pool.New(pool.Options{Resolver: o.Resolver, Logger: a.noted(api.EventBackend), OnChange: a.backendChanged})
	a.checker = health.New(health.Options{Log: a.slog, Checked: a.checked})
	a.discovery = discovery.New(discovery.Options{Log: a.noted(api.EventBackends), OnChange: a.rediscover, Feeds: o.Feeds})
	a.gate = overload.New(overload.Options{MaxSessions: overload.Within(c.Limits.MaxSessions), MaxHandshakes: c.Limits.MaxHandshakes,
		PerAddress: c.Limits.MaxHandshakesPerAddress})
	a.limiter = limit.New()
	a.sticky = sticky.New(nil)
	a.keys = jwtkeys.NewStore(jwtkeys.Options{Log: a.slog, Loaded: a.metrics.KeysRead})
	a.asks = subrequest.NewStore(subrequest.Options{Done: a.metrics.AuthRequestDone})
	a.acme = acme.NewGroup(a.noted(api.EventCertificate), a.acmeChanged)
	a.certs = certs.New(certs.Options{Log: a.noted(api.EventCertificate), Source: a.acme})
	undo := []func(){func() { a.log.Close() }, a.sockets.Close, a.registry.Close, a.drainer.Close, a.checker.Close, a.discovery.Close, a.certs.Close, a.acme.Close, a.keys.Close, a.asks.Close}
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	auth, err := a.loadAuth(c)
	if err != nil {
		return nil, err
	}
	listening, err := a.prepareListeners(c, auth)
	if err != nil {
		return nil, err
	}
	closer := &closing.Closer{Release: a.release, Observers: []closing.Observer{logObserver{a}, metricsObserver{a}}}
	if a.engine, err = newEngine(c.Engine, a.slog, closer.Ended); err != nil {
		return nil, err
	}
	undo = append(undo, a.engine.Close)
	a.trimmer.trim = a.engine.Trim
	a.spare.set = a.engine.SpareProcessors
	a.spare.set(false)
	a.tune(c)
	// Changes that are discovered from now on wait for the end of Start.
	a.reload.Lock()
	defer a.reload.Unlock()
	a.current.Store(c)
	a.discovery.Apply(discoverySpecs(c), firstFound)
	g, _, err := a.build(c, a.backendTLS, auth, 1)
	if err != nil {
		return nil, err
	}
	a.useAuth(auth, firstFound)
	a.proxy = proxy.New(proxy.Options{Gate: a.gate, Limiter: a.limiter, Engine: a.engine, Watcher: watcher{a}, Log: a.slog, ACMEChallenge: a.acme.Answer, HTTPDone: a.httpDone, HTTPCut: a.metrics.HTTPCut,
		HTTPBegins: a.spare.enter, HTTPEnds: a.spare.leave, Ended: closer.Ended, Release: a.releaseLease, BackendName: a.backendName}, g)
	undo = append(undo, func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		a.proxy.Close(ctx)
	})
	a.rebalancer = a.newRebalancer()
	undo = append(undo, a.rebalancer.Close, a.downs.close)
	a.listeners = &listener.Set{Network: a.engine, Serve: a.proxy.Serve}
	a.trimmer.collect() // the start leaves garbage behind, too
	// Requests to the admin interface wait until there is something to tell of.
	if !c.Admin.Address.IsZero() {
		if a.admin, err = a.newAdmin(c.Admin.Address); err != nil {
			return nil, err
		}
		undo = append(undo, a.admin.close)
	}
	if err = a.listeners.Apply(listening.specs); err != nil {
		return nil, err
	}
	a.useListeners(listening)
	if a.admin != nil {
		a.admin.start(a.slog)
	}
	a.metrics.ConfigStarted(a.started)
	a.tellOrigin(c)
	a.warnOnce(append(texts(c.Warnings, expiring(a.backendTLS, c)), listening.unused...))
	if short := overload.Shortage(c.Limits.MaxSessions); short != "" {
		a.slog.Warn(short)
	}
	loops, _ := a.engine.Loops()
	a.slog.Info("started", "version", o.Version, "listeners", a.Addresses(), "admin", a.AdminAddr(),
		"engine", engineName(a.engine), "loops", loops, "max_sessions", a.gate.Limits().MaxSessions)
	a.explainSelfSigned()
	a.runManager()
	return a, nil
}

// Reload loads the configuration again and uses it from now on. If it returns an
// error, nothing has changed. Open sessions go on, except those of backends that
// were removed.
func (a *App) Reload() (warnings []string, err error) {
	a.spare.enter()
	defer a.spare.leave()
	a.reload.Lock()
	defer a.reload.Unlock()
	if !a.stopping() {
		a.manager.Reloading()
		defer func() { a.reloaded(err) }()
	}
	defer func() {
		a.metrics.ConfigLoaded(err == nil, time.Now())
		if err != nil {
			a.noted(api.EventReload).Error("reload refused; nothing has changed", "error", err)
		}
	}()
	if a.stopped {
		return nil, errors.New("the balancer is shutting down")
	}
	if a.options.File == "" && !a.options.Program {
		return nil, errors.New("there is no file to reload: the balancer was started with --listen and --backend")
	}
	c, err := a.options.Load()
	if err != nil {
		return nil, err
	}
	if !a.options.Admin.IsZero() {
		c.Admin.Address = a.options.Admin
	}
	backendTLS, err := a.readBackendTLS(c)
	if err != nil {
		return nil, err
	}
	auth, err := a.loadAuth(c)
	if err != nil {
		return nil, err
	}
	listening, err := a.prepareListeners(c, auth)
	if err != nil {
		return nil, err
	}
	// Listeners first, since they may still fail. A new one that accepts a
	// connection before the swap below serves it by the old routes, as if the
	// client had come a moment earlier.
	if err := a.listeners.Apply(listening.specs); err != nil {
		return nil, err
	}
	old := a.current.Load()
	a.coming.Store(c)
	defer a.coming.Store(nil)
	a.discovery.Apply(discoverySpecs(c), firstFound)
	g, left, err := a.build(c, backendTLS, auth, a.proxy.Generation().Number+1)
	if err != nil {
		a.discovery.Apply(discoverySpecs(old), 0)
		return nil, errors.Join(err, a.listeners.Apply(a.listening.specs))
	}
	a.useAuth(auth, firstFound)
	a.proxy.Swap(g)
	a.backendTLS = backendTLS
	a.useListeners(listening)
	a.tune(c)
	a.current.Store(c)
	a.metrics.Refresh()
	a.rebalancer.PoolsChanged()
	a.gate.SetPerAddress(c.Limits.MaxHandshakesPerAddress)
	a.log.SetFormatLevel(c.Log.Format, level(c))
	a.tellOrigin(c)
	warnings = append(texts(c.Warnings, listening.untimely(c), expiring(backendTLS, c)), listening.unused...)
	for _, what := range needRestart(old, c) {
		warnings = append(warnings, fmt.Sprintf("%s: %s changed, which takes effect at the next start", cmp.Or(a.options.File, "the configuration"), what))
	}
	a.noted(api.EventReload).Info("reloaded", "generation", g.Number, "backends_left", len(left))
	a.warnOnce(warnings)
	return warnings, nil
}

// firstFound bounds how long a start or reload waits for the first answers of
// discovery.
const firstFound = 2 * time.Second

// rediscover uses the backends that were found for pools. Everything else stays
// unchanged.
func (a *App) rediscover(pools []string) {
	a.spare.enter()
	defer a.spare.leave()
	a.reload.Lock()
	defer a.reload.Unlock()
	c := a.current.Load()
	if a.proxy == nil || a.stopped {
		return
	}
	g, left, err := a.build(c, a.backendTLS, a.auth, a.proxy.Generation().Number+1)
	if err != nil {
		a.noted(api.EventBackends).Error("what was discovered can't be used; nothing has changed", "pools", pools, "error", err)
		return
	}
	a.proxy.Swap(g)
	a.metrics.Refresh()
	for _, name := range pools {
		p := g.Pools[name]
		if p == nil {
			continue // a reload has just removed it
		}
		gone := 0
		for _, b := range left {
			if b.Pool == name {
				gone++
			}
		}
		a.noted(api.EventBackends).Info("the backends of a pool changed", "pool", name, "generation", g.Number,
			"backends", len(p.Picker.Members()), "backends_left", gone)
	}
}

// release releases the lease and the other resources of a session that ended.
func (a *App) release(s session.Summary) {
	a.releaseLease(s.Backend)
	a.proxy.Forget(s.ID)
	a.claims.remove(s.ID)
	a.gate.SessionEnded()
	a.limiter.Ended(s.ID)
	a.trimmer.note(time.Now())
}

func (a *App) releaseLease(backend uint32) {
	if b := a.registry.Backend(backend); b != nil {
		b.Release()
	}
}

func (a *App) tellOrigin(c *config.Config) {
	if c.Origin != "" {
		a.slog.Info(c.Origin)
	}
}

// Addresses returns the addresses listened on, in the order of the configuration.
func (a *App) Addresses() []string {
	var all []string
	for _, l := range a.listeners.List() {
		all = append(all, l.String())
	}
	return all
}

// AdminAddr returns the bound admin address; "" if there is none.
func (a *App) AdminAddr() string {
	if a.admin == nil {
		return ""
	}
	return a.admin.listener.Addr().String()
}

// Log returns the balancer's log.
func (a *App) Log() *slog.Logger { return a.slog }
