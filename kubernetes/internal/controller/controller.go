// Package controller joins the parts of a replica: it follows the cluster, makes a Plan
// after each change, and has the balancer and the leader's writer carry it out.
//
// One goroutine, that of follow, does all of that one after the other; it may wait for
// the API server, and sessions don't notice. Everything else here is called from anywhere
// and never blocks, except Run.
package controller

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/logging"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/balancer"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster/live"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/endpoints"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/leader"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/peer"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/program"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/settings"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Options are those of a replica.
type Options struct {
	REST *rest.Config
	// Name and Namespace are those of the controller's own Pod; "" outside a cluster.
	Name, Namespace string
	// Watch are the namespaces whose objects count; empty means all.
	Watch      []string
	GatewayAPI bool
	// Settings is a file; "" for none. It is read again when it has changed.
	Settings string
	// SharedSecret is a Secret in Namespace with the secret of all replicas; "" is none.
	SharedSecret string
	// Proxies are those whose PROXY protocol is believed.
	Proxies   []config.Peer
	Endpoints endpoints.Options
	// Translators returns the translators and the policies. It is called before each Plan.
	Translators func(Facts) Translators
	// PeerAddress is where probes and metrics are answered.
	PeerAddress string
	// Lease is the name of the Lease in Namespace; "" is "holdfast" and the instance.
	Lease string
	// LeaseDuration is how long a leader may not be heard of; 0 means 15 s.
	LeaseDuration time.Duration
	// Poll is the time between two looks for new kinds of resources and for changes of
	// Settings; 0 means 10 s.
	Poll time.Duration
	// App has Version, LogTo, Collectors and so on.
	App app.Options
	// Handlers are further paths of PeerAddress.
	Handlers map[string]http.Handler
	// Leading run while this replica leads, Always from the start to the end.
	Leading, Always []func(context.Context, *Controller)
}

// Facts are what translators need to know beside the objects.
type Facts struct {
	// PodLabels are those by which Services select the controller's Pods; nil outside a
	// cluster.
	PodLabels map[string]string
	// Secret is shared by all replicas; "" if there is none.
	Secret string
	// Forwarded is that of the settings, on which header templates depend.
	Forwarded config.Forwarded
	Now       time.Time
}

// Translators make a configuration of objects.
type Translators struct {
	List     []func(*cluster.Snapshot) *translate.Result
	Policies func(*cluster.Snapshot, []*translate.Result) *translate.Result
}

// Controller is one replica.
type Controller struct {
	options  Options
	log      *slog.Logger
	lines    *logging.Log
	scheme   *runtime.Scheme
	client   client.Client
	watcher  *live.Watcher
	balancer *balancer.Balancer
	writer   *leader.Writer
	snapshot atomic.Pointer[cluster.Snapshot] // of the last Plan
	notReady atomic.Pointer[string]           // why /health is 503; nil if it isn't
	wake     chan struct{}

	// The following are of the goroutine of follow.
	base    *config.Config
	facts   Facts
	builder program.Builder
	began   time.Time
}

// Why a replica isn't ready.
const (
	waiting  = "waiting for the objects of the cluster"
	stopping = "shutting down"
)

var atFirst, atLast = waiting, stopping

// New makes a replica that does nothing until Run. The error is a config.Errors if it is
// about the settings.
func New(o Options) (*Controller, error) {
	base, err := settings.Load(o.Settings)
	if err != nil {
		return nil, err
	}
	c := &Controller{options: o, scheme: cluster.NewScheme(), base: base, wake: make(chan struct{}, 1)}
	c.lines = logging.New(o.App.LogTo, base.Log.Format, level(base))
	c.log = c.lines.Logger()
	if c.client, err = client.New(o.REST, client.Options{Scheme: c.scheme, Mapper: live.Mapper()}); err != nil {
		return nil, err
	}
	var own []string
	if o.Namespace != "" {
		own = append(own, o.Namespace)
	}
	c.watcher, err = live.New(live.Options{REST: o.REST, Scheme: c.scheme, Reader: c.client, Namespaces: o.Watch, Also: own, GatewayAPI: o.GatewayAPI, Log: c.log, Poll: o.Poll})
	if err != nil {
		return nil, err
	}
	c.balancer = balancer.New(o.App, c.log)
	c.builder.Log = c.log
	c.notReady.Store(&atFirst)
	return c, nil
}

func level(c *config.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// NotReady returns why the replica should get no new clients; "" if it should.
func (c *Controller) NotReady() string {
	if why := c.notReady.Load(); why != nil {
		return *why
	}
	return ""
}

// Snapshot returns the objects of the last Plan; nil before the first.
func (c *Controller) Snapshot() *cluster.Snapshot { return c.snapshot.Load() }

// Loads returns the loads of the pools; nil before the first Plan.
func (c *Controller) Loads() []app.PoolLoad { return c.balancer.Loads() }

// App returns the balancer; nil before the first Plan.
func (c *Controller) App() *app.App { return c.balancer.App() }

// Client asks the API server.
func (c *Controller) Client() client.Client { return c.client }

// Log is the log of the controller.
func (c *Controller) Log() *slog.Logger { return c.log }

// Changed makes the controller look at the cluster and the settings again.
func (c *Controller) Changed() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run runs the replica until a signal on stop, as holdfast run does: after the first
// SIGTERM, its health is 503 and it goes on for shutdown.delay; another signal ends that;
// one more cuts the sessions that are left. A value on hangups reads the settings again.
func (c *Controller) Run(stop, hangups <-chan os.Signal) error {
	defer c.lines.Close()
	handlers := map[string]http.Handler{"GET /metrics": http.HandlerFunc(c.serveMetrics)}
	for pattern, handler := range c.options.Handlers {
		handlers[pattern] = handler
	}
	server, err := peer.Start(peer.Options{Address: c.options.PeerAddress, NotReady: c.NotReady, Handlers: handlers, Log: c.log})
	if err != nil {
		return err
	}
	defer server.Close()
	c.log.Info("starting", "version", c.options.App.Version, "api_server", c.options.REST.Host, "namespaces", c.options.Watch, "peer_address", server.Addr())

	var group sync.WaitGroup
	always, end := context.WithCancel(context.Background())
	defer group.Wait()
	defer end()
	leads, resign := context.WithCancel(always)
	defer resign()
	follows, stopFollowing := context.WithCancel(always)
	defer stopFollowing()

	failed := make(chan error, 1)
	fail := func(err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	var following sync.WaitGroup
	following.Go(func() { fail(c.watcher.Run(follows)) })
	following.Go(func() { fail(c.follow(follows, leads, &group)) })
	for _, run := range c.options.Always {
		group.Go(func() { run(always, c) })
	}
	var delay <-chan time.Time
	for signals := 0; ; {
		select {
		case <-hangups:
			c.Changed()
			continue
		case err := <-failed:
			stopFollowing()
			following.Wait()
			if a := c.App(); a != nil {
				c.notReady.Store(&atLast)
				a.Shutdown(always)
			}
			return err
		case sig := <-stop:
			signals++
			c.notReady.Store(&atLast)
			resign()
			if a := c.App(); a != nil && isTerm(sig) && delay == nil {
				delay = time.After(a.Announce())
				continue
			}
		case <-delay:
		}
		stopFollowing()
		following.Wait()
		return c.shutDown(stop, signals)
	}
}

// shutDown closes all sessions. Another signal cuts those that are left.
func (c *Controller) shutDown(stop <-chan os.Signal, signals int) error {
	a := c.App()
	if a == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	if cut := a.Shutdown(ctx); cut > 0 {
		if ctx.Err() != nil {
			return errors.New("sessions were cut at a signal")
		}
		return errors.New("sessions were cut at the end of timeouts.shutdown")
	}
	return nil
}

func (c *Controller) serveMetrics(w http.ResponseWriter, r *http.Request) {
	a := c.App()
	if a == nil {
		http.Error(w, waiting, http.StatusServiceUnavailable)
		return
	}
	a.MetricsHandler().ServeHTTP(w, r)
}
