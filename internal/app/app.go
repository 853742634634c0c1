// Package app runs a balancer: it turns a configuration into the options of the
// stages, builds generations and swaps them at a reload, and owns everything that
// survives a reload. The command line starts it; it doesn't read files itself.
package app

import (
	"context"
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
	"github.com/holdfast-ws/holdfast/internal/ops/rates"
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
	// State is the path of the file that keeps changes at run time, for a configuration
	// that leaves it to the caller (admin.state: auto); "" means that they aren't kept.
	State string
	// NoState says why State is "", although the changes should be kept.
	NoState string
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
	overrides    overrides
	rebalancer   *rebalance.Rebalancer
	gate         *overload.Gate
	limiter      *limit.Limiter
	sticky       *sticky.Tables
	acme         *acme.Group
	certs        *certs.Watcher
	keys         *jwtkeys.Store
	asks         *subrequest.Store
	claims       sessionClaims
	traces       traces
	closeReasons closeReasons
	names        session.Names
	engine       relay.Engine
	proxy        *proxy.Proxy
	listeners    *listener.Set
	metrics      *metrics.Metrics
	rates        rates.Ring[metrics.Labels] // of pools and backends; of all with no labels
	opened       atomic.Uint64
	trimmer      memoryTrimmer
	spare        processors
	admin        *adminServer
	events       *events.Broker
	overloads    overloads
	long         longSessions
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
	if err := o.overrideAdmin(c); err != nil {
		return nil, err
	}
	a := &App{options: o, started: time.Now(), queues: map[string]*ratelimit.Limiter{}, events: events.New(events.Kept)}
	a.rates.Bounds = metrics.Bounds()
	a.metrics = metrics.New(source{a}, metrics.Options{Version: o.Version, HandshakeResults: proxy.Results(), Opened: proxy.ResultOpened, TLSResults: secure.Results(), BackendTLSResults: backendtls.Results(), CheckResults: health.Results(),
		AffinityResults: generation.AffinityResults(), BackendStates: backendStates(o.Feeds != nil),
		ReattachReasons: reattach.Reasons(), ReattachResults: reattach.Results(), AuthResults: subrequest.Results(), Collectors: o.Collectors})
	if a.backendTLS, err = a.readBackendTLS(c); err != nil {
		return nil, err
	}
	logFile, err := openLogFile(c)
	if err != nil {
		return nil, err
	}
	a.log = logging.New(o.LogTo, c.Log.Format, level(c))
	a.log.Use(logFile)
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
	tracing, err := loadTracing(c)
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
	a.openState(c.Admin.State)
	undo = append(undo, a.closeState)
	kept := a.overrides.get()
	a.overrides.put(a.settled(c))
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
	a.useTracing(tracing)
	undo = append(undo, a.traces.close)
	a.proxy = proxy.New(proxy.Options{Gate: a.gate, Limiter: a.limiter, Engine: a.engine, Watcher: watcher{a}, Log: a.slog, ACMEChallenge: a.acme.Answer, HTTPDone: a.httpDone, LogHTTP: a.logsHTTP, HTTPCut: a.metrics.HTTPCut,
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
	if a.admin, err = a.newAdmin(&c.Admin, listening); err != nil {
		return nil, err
	}
	undo = append(undo, a.admin.close)
	if err = a.listeners.Apply(listening.specs); err != nil {
		return nil, err
	}
	a.useListeners(c, listening)
	a.admin.start(a.slog)
	a.overrides.explain()
	a.saveSettled(kept)
	a.metrics.ConfigStarted(a.started)
	a.tellOrigin(c)
	a.warnOnce(append(texts(c.Warnings, expiring(a.backendTLS, c)), listening.unused...))
	if short := overload.Shortage(c.Limits.MaxSessions); short != "" {
		a.slog.Warn(short)
	}
	loops, _ := a.engine.Loops()
	a.slog.Info("started", "version", o.Version, "listeners", a.Addresses(), "admin", a.AdminAddr(), "admin_socket", a.AdminSocket(),
		"engine", engineName(a.engine), "loops", loops, "max_sessions", a.gate.Limits().MaxSessions)
	a.explainSelfSigned()
	a.startLongSessions()
	a.runManager()
	return a, nil
}

// release releases the lease and the other resources of a session that ended.
func (a *App) release(s session.Summary) {
	a.releaseLease(s.Backend)
	a.proxy.Forget(s.ID)
	a.claims.remove(s.ID)
	a.traces.spans.remove(s.ID)
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

// Log returns the balancer's log.
func (a *App) Log() *slog.Logger { return a.slog }
