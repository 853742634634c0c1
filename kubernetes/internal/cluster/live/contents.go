package live

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

const (
	// maxReads bounds the requests at one time, and readTimeout all of one Load, so that
	// an API server that doesn't answer holds up nothing else.
	maxReads    = 16
	readTimeout = 5 * time.Second
	readAgain   = 10 * time.Second
)

// contents has the Secrets or the ConfigMaps that something refers to. Of the others,
// only names and versions are followed.
type contents struct {
	index  *store
	reader client.Reader
	empty  func() client.Object
	log    *slog.Logger

	mu     sync.Mutex
	loaded map[types.NamespacedName]client.Object
	wanted map[types.NamespacedName]bool
	failed map[types.NamespacedName]string // what was logged last
}

func newContents(index *store, reader client.Reader, empty func() client.Object, log *slog.Logger) *contents {
	return &contents{index: index, reader: reader, empty: empty, log: log, loaded: map[types.NamespacedName]client.Object{}, wanted: map[types.NamespacedName]bool{}, failed: map[types.NamespacedName]string{}}
}

// wants reports whether something refers to the object.
func (c *contents) wants(name types.NamespacedName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted[name]
}

// appendTo appends the objects that are loaded and still exist.
func (c *contents) appendTo(all []client.Object) []client.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, o := range c.loaded {
		if c.index.version(name) != "" {
			all = append(all, o)
		}
	}
	return all
}

// load reads what is wanted and new or changed, and forgets the rest. again says that
// something couldn't be read; until it can be, what was read before stays.
func (c *contents) load(ctx context.Context, names []types.NamespacedName) (changed, again bool) {
	c.mu.Lock()
	c.wanted = make(map[types.NamespacedName]bool, len(names))
	var stale []types.NamespacedName
	for _, name := range names {
		c.wanted[name] = true
		version := c.index.version(name)
		if o := c.loaded[name]; version != "" && (o == nil || o.GetResourceVersion() != version) {
			stale = append(stale, name)
		}
	}
	for name := range c.loaded {
		if !c.wanted[name] || c.index.version(name) == "" {
			delete(c.loaded, name)
		}
	}
	for name := range c.failed {
		if !c.wanted[name] {
			delete(c.failed, name)
		}
	}
	c.mu.Unlock()
	if len(stale) == 0 {
		return false, false
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var group sync.WaitGroup
	room := make(chan struct{}, maxReads)
	var mu sync.Mutex // guards changed and again
	for _, name := range stale {
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			read, failed := c.read(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			changed, again = changed || read, again || failed
		})
	}
	group.Wait()
	return changed, again
}

func (c *contents) read(ctx context.Context, name types.NamespacedName) (changed, failed bool) {
	o := c.empty()
	err := c.reader.Get(ctx, name, o)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err):
		delete(c.failed, name)
		return false, false // deleted just now; the index will say so
	case err != nil:
		if c.failed[name] != err.Error() {
			c.failed[name] = err.Error()
			c.log.Warn("can't read an object; what was read before stays in use", "resource", c.index.kind.resource, "namespace", name.Namespace, "name", name.Name, "error", err)
		}
		return false, true
	}
	delete(c.failed, name)
	o.SetManagedFields(nil)
	o.SetAnnotations(nil)
	old := c.loaded[name]
	c.loaded[name] = o
	return old == nil || !same(old, o), false
}

// Load reads the Secrets and ConfigMaps that were looked up in a Snapshot, and reports
// whether there is now more to find: then the caller takes a new Snapshot. It blocks for
// at most 5 s. missing says that some exist and can't be read; they are tried again later,
// by a signal on Changed.
func (w *Watcher) Load(ctx context.Context, s *cluster.Snapshot) (more, missing bool) {
	secrets, configMaps := s.Wanted()
	for _, l := range []struct {
		contents *contents
		names    []types.NamespacedName
	}{{w.secrets, secrets}, {w.configMaps, configMaps}} {
		changed, failed := l.contents.load(ctx, l.names)
		more, missing = more || changed, missing || failed
	}
	if missing {
		time.AfterFunc(readAgain, w.Signal)
	}
	return more, missing
}

func emptySecret() client.Object    { return &corev1.Secret{} }
func emptyConfigMap() client.Object { return &corev1.ConfigMap{} }
