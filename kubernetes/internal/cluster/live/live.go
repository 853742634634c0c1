// Package live follows the objects of a cluster and makes a cluster.Snapshot of them when
// something has changed.
//
// The objects come from the informers of controller-runtime. If the API server goes away,
// they stay as they were. Snapshot copies lists of pointers; it and Load are called by one
// goroutine, that of the program. Nothing else here blocks.
//
// Of Pods, only the metadata is kept. Of Secrets and ConfigMaps, names and versions are
// followed, and the content is read of those that something refers to. That costs one
// request for each of them at the start and after each of its changes, and saves holding
// all Secrets of the cluster in memory.
package live

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// Options say what is followed.
type Options struct {
	REST   *rest.Config
	Scheme *runtime.Scheme // cluster.NewScheme
	Reader client.Reader   // asks the API server; for Secrets and ConfigMaps
	// Namespaces are those that are watched; empty means all. Also has those whose
	// Services, EndpointSlices and Pods are needed besides: the controller's own.
	Namespaces []string
	Also       []string
	GatewayAPI bool // whether its resources are followed if they are installed
	Log        *slog.Logger
	// Poll is how often it is looked whether resources have been installed that weren't;
	// 0 means 10 s.
	Poll time.Duration
}

// Watcher follows the objects of a cluster.
type Watcher struct {
	options   Options
	log       *slog.Logger
	cache     cache.Cache
	discovery discovery.DiscoveryInterface
	changes   chan struct{}
	ready     chan struct{} // closed once all that is installed at the start was listed
	secrets   *contents
	indexes   []*store // of secrets and configMaps, which aren't in a Snapshot

	configMaps *contents
	failures   failures

	mu      sync.Mutex
	watched map[string]*watched // by the kind's String; changed only by the goroutine of Run
}

// watched is a kind that is followed.
type watched struct {
	store   *store
	visible bool          // whether it is in Snapshots
	awaited bool          // whether its first list is waited for
	cancel  func()        // stops waiting for its first list
	missing int           // how often in a row it wasn't installed any more
	synced  chan struct{} // closed when it is visible, or is no longer followed
}

// New returns a Watcher that does nothing until Run.
func New(o Options) (*Watcher, error) {
	if o.Poll == 0 {
		o.Poll = 10 * time.Second
	}
	w := &Watcher{options: o, log: o.Log, changes: make(chan struct{}, 1), ready: make(chan struct{}), watched: map[string]*watched{}}
	w.failures.log = o.Log
	var err error
	if w.discovery, err = discovery.NewDiscoveryClientForConfig(o.REST); err != nil {
		return nil, err
	}
	yes := true
	options := cache.Options{
		Scheme: o.Scheme, Mapper: Mapper(), DefaultTransform: strip, DefaultUnsafeDisableDeepCopy: &yes,
		DefaultWatchErrorHandler: w.failures.handle,
		ByObject:                 map[client.Object]cache.ByObject{},
	}
	if len(o.Namespaces) > 0 {
		options.DefaultNamespaces = namespaces(o.Namespaces)
	}
	for _, k := range kindsOf(o.GatewayAPI) {
		by := cache.ByObject{}
		switch k.resource {
		case "secrets":
			// Helm keeps its releases in large Secrets, which change often.
			by.Field = fields.OneTermNotEqualSelector("type", "helm.sh/release.v1")
		case "configmaps":
			by.Field = fields.OneTermNotEqualSelector("metadata.name", "kube-root-ca.crt") // one in each namespace
		case "services", "endpointslices", "pods":
			if len(o.Namespaces) > 0 {
				by.Namespaces = namespaces(slices.Concat(o.Namespaces, o.Also))
			}
		default:
			continue
		}
		options.ByObject[k.object] = by
	}
	if w.cache, err = cache.New(o.REST, options); err != nil {
		return nil, err
	}
	for _, k := range kindsOf(o.GatewayAPI) {
		if !k.content {
			w.indexes = append(w.indexes, w.newStore(k))
		}
	}
	w.secrets = newContents(w.indexes[0], o.Reader, emptySecret, o.Log)
	w.configMaps = newContents(w.indexes[1], o.Reader, emptyConfigMap, o.Log)
	return w, nil
}

func namespaces(names []string) map[string]cache.Config {
	all := map[string]cache.Config{}
	for _, n := range names {
		if n != "" {
			all[n] = cache.Config{}
		}
	}
	return all
}

func (w *Watcher) newStore(k kind) *store {
	s := &store{kind: k, objects: map[types.NamespacedName]client.Object{}}
	s.changed = func(name types.NamespacedName) {
		switch k.resource {
		case "secrets":
			if !w.secrets.wants(name) {
				return
			}
		case "configmaps":
			if !w.configMaps.wants(name) {
				return
			}
		}
		w.Signal()
	}
	return s
}

// Changed gets a value after changes. Several may come to one.
func (w *Watcher) Changed() <-chan struct{} { return w.changes }

// Ready is closed once everything that is installed was listed. There is no Snapshot
// before.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Signal makes a change of nothing, so that a new Snapshot is taken.
func (w *Watcher) Signal() {
	select {
	case w.changes <- struct{}{}:
	default:
	}
}

// Snapshot returns all objects as they are now; nil before Ready.
func (w *Watcher) Snapshot() *cluster.Snapshot {
	select {
	case <-w.ready:
	default:
		return nil
	}
	var all []client.Object
	w.mu.Lock()
	for _, k := range w.watched {
		if k.visible && k.store.kind.content {
			all = k.store.appendTo(all)
		}
	}
	w.mu.Unlock()
	all = w.secrets.appendTo(all)
	all = w.configMaps.appendTo(all)
	s, err := cluster.New(all)
	if err != nil {
		panic(err) // kindsOf has a kind that a Snapshot doesn't have
	}
	return s
}

// Run follows the objects until ctx is done. It returns an error only if it can't begin.
func (w *Watcher) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	failed := make(chan error, 1)
	group.Go(func() { failed <- w.cache.Start(ctx) })
	tick := time.NewTimer(0)
	defer tick.Stop()
	first := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("following the objects of the cluster: %w", err)
		case <-tick.C:
		}
		ok := w.follow(ctx, &group, first)
		tick.Reset(w.options.Poll)
		if ok {
			first = false
		} else if first {
			tick.Reset(min(w.options.Poll, time.Second))
		}
	}
}

// follow begins to follow what is installed and isn't followed yet, and stops what was
// uninstalled. It reports whether the API server has answered.
func (w *Watcher) follow(ctx context.Context, group *sync.WaitGroup, first bool) bool {
	installed := map[string]map[string]bool{} // by version and resource; an unknown version isn't in it
	for _, k := range kindsOf(w.options.GatewayAPI) {
		version := k.version.String()
		if !k.installed && installed[version] == nil {
			list, err := w.discovery.ServerResourcesForGroupVersion(version)
			if err != nil && !apierrors.IsNotFound(err) {
				w.failures.report("the list of "+version, err)
				if first {
					return false
				}
				continue
			}
			w.failures.ended("the list of " + version)
			installed[version] = map[string]bool{}
			if err == nil {
				for _, r := range list.APIResources {
					installed[version][r.Name] = true
				}
			}
		}
		w.mu.Lock()
		old := w.watched[k.String()]
		w.mu.Unlock()
		there := k.installed || installed[version][k.resource]
		switch {
		case there && old == nil:
			if err := w.begin(ctx, group, k); err != nil {
				w.failures.report(k.String(), err)
				if first {
					return false
				}
			}
		case there:
			old.missing = 0
		case old != nil:
			w.uninstalled(ctx, old)
		}
	}
	// With those of an attempt that the API server didn't answer to the end.
	var batch []*watched
	for _, one := range w.watched {
		if !one.awaited {
			one.awaited = true
			batch = append(batch, one)
		}
	}
	if len(batch) > 0 || first {
		w.await(ctx, group, batch, first)
	}
	return true
}

// begin follows a kind.
func (w *Watcher) begin(ctx context.Context, group *sync.WaitGroup, k kind) error {
	informer, err := w.cache.GetInformer(ctx, k.object, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	one := &watched{store: w.newStore(k), synced: make(chan struct{})}
	for _, index := range w.indexes {
		if index.kind.resource == k.resource {
			one.store = index
		}
	}
	registration, err := informer.AddEventHandler(one.store)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithCancel(ctx)
	one.cancel = cancel
	group.Go(func() {
		defer close(one.synced)
		toolscache.WaitForCacheSync(waiting.Done(), registration.HasSynced)
	})
	w.mu.Lock()
	w.watched[k.String()] = one
	w.mu.Unlock()
	return nil
}

// await lets Snapshots have the kinds of a batch, once all of them were listed: routes
// without the Gateways that they belong to would be reported as wrong.
func (w *Watcher) await(ctx context.Context, group *sync.WaitGroup, batch []*watched, first bool) {
	group.Go(func() {
		for _, one := range batch {
			<-one.synced
		}
		if ctx.Err() != nil {
			return
		}
		var names []string
		w.mu.Lock()
		for _, one := range batch {
			one.visible = true
			names = append(names, one.store.kind.String())
		}
		w.mu.Unlock()
		slices.Sort(names)
		if first {
			close(w.ready)
		}
		w.log.Info("following resources of the cluster", "resources", names)
		w.Signal()
	})
}

// uninstalled stops following a kind whose definition is gone. Once isn't enough: the
// lists of an API server that starts may not be complete.
func (w *Watcher) uninstalled(ctx context.Context, one *watched) {
	if one.missing++; one.missing < 2 {
		return
	}
	w.cache.RemoveInformer(ctx, one.store.kind.object)
	one.cancel()
	w.mu.Lock()
	delete(w.watched, one.store.kind.String())
	w.mu.Unlock()
	w.failures.ended(one.store.kind.String())
	w.log.Warn("a resource is no longer installed in the cluster", "resource", one.store.kind.String())
	w.Signal()
}
