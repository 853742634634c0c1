package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

const (
	// tryAgain is the pause after something couldn't be written.
	tryAgain = 5 * time.Second
	// writeTimeout bounds one request.
	writeTimeout = 10 * time.Second
	logEvery     = time.Minute
)

// Options are what a Writer needs.
type Options struct {
	Client client.Client
	Events *Events // nil writes none
	Log    *slog.Logger
	// Namespace is that of the Services which the leader makes, "" makes none. Instance
	// is in their label app.kubernetes.io/instance: those of another installation in
	// the same namespace are left alone.
	Namespace, Instance string
	// DeleteAfter is how long a Service must be unwanted before it is deleted; 0 means
	// 30 s.
	DeleteAfter time.Duration
	// Stale is called when a status can't be written since the object has changed: the
	// program should call Want with a new Snapshot. It must not block.
	Stale func()
}

// Wanted is what should be in the cluster.
type Wanted struct {
	Snapshot *cluster.Snapshot
	Statuses []client.Object
	Events   []translate.Event
	Services []*corev1.Service
}

// Writer writes what was wanted last, while this replica leads.
type Writer struct {
	options Options
	wake    chan struct{}

	mu     sync.Mutex
	wanted *Wanted

	// The following are of the goroutine of Run.
	written map[identity]string // the version of an object that a status was written over
	failed  map[identity]failure
	// unwanted are Services by UID, and since when.
	unwanted map[types.UID]time.Time
	// often are objects that are written often, see brake.
	often map[identity][]time.Time
}

// identity is an object's.
type identity struct {
	kind reflect.Type
	name types.NamespacedName
}

type failure struct {
	text string
	at   time.Time
}

func identityOf(o client.Object) identity {
	return identity{reflect.TypeOf(o), client.ObjectKeyFromObject(o)}
}

// NewWriter returns a Writer that does nothing until Run.
func NewWriter(o Options) *Writer {
	if o.Stale == nil {
		o.Stale = func() {}
	}
	if o.DeleteAfter == 0 {
		o.DeleteAfter = 30 * time.Second
	}
	return &Writer{often: map[identity][]time.Time{}, options: o, wake: make(chan struct{}, 1), written: map[identity]string{}, failed: map[identity]failure{}}
}

// Want says what should be in the cluster from now on.
func (w *Writer) Want(wanted Wanted) {
	w.mu.Lock()
	w.wanted = &wanted
	w.mu.Unlock()
	w.signal()
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx is done.
func (w *Writer) Run(ctx context.Context) {
	w.signal() // for what was wanted before this replica led
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-again.C:
		}
		w.mu.Lock()
		wanted := w.wanted
		w.mu.Unlock()
		if wanted != nil && !w.write(ctx, wanted) {
			again.Reset(tryAgain)
		}
	}
}

// write brings the cluster to what is wanted, and reports whether it has.
func (w *Writer) write(ctx context.Context, wanted *Wanted) (done bool) {
	done = true
	current := map[identity]bool{}
	for _, desired := range wanted.Statuses {
		if ctx.Err() != nil {
			return true
		}
		current[identityOf(desired)] = true
		done = w.writeStatus(ctx, wanted.Snapshot, desired) && done
	}
	for _, s := range wanted.Services {
		current[identityOf(s)] = true
	}
	if w.options.Namespace != "" {
		done = w.writeServices(ctx, wanted) && done
	}
	for id := range w.written {
		if !current[id] {
			delete(w.written, id)
		}
	}
	for id := range w.often {
		if !current[id] {
			delete(w.often, id)
		}
	}
	if w.options.Events != nil {
		w.options.Events.report(wanted.Events)
	}
	return done
}

// writeStatus writes one status, unless the API server has it already.
func (w *Writer) writeStatus(ctx context.Context, s *cluster.Snapshot, desired client.Object) bool {
	id := identityOf(desired)
	actual := s.Find(desired)
	if actual == nil || equality.Semantic.DeepEqual(actual, desired) {
		delete(w.written, id)
		return true
	}
	if w.written[id] == actual.GetResourceVersion() {
		return true // written, and the Snapshot doesn't show it yet
	}
	if w.brake(id) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	// A patch, since objects of a Snapshot aren't complete. With the version, so that it
	// fails if somebody else has written: entries of other controllers stay theirs.
	copied := desired.DeepCopyObject().(client.Object)
	err := w.options.Client.Status().Patch(ctx, copied, client.MergeFromWithOptions(actual, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsConflict(err):
		w.options.Stale()
		return false
	case apierrors.IsNotFound(err):
		return true
	case err != nil:
		w.fail(id, "writing a status", err)
		return false
	}
	delete(w.failed, id)
	w.written[id] = actual.GetResourceVersion()
	return true
}

// maxWrites is how often a status may be written in logEvery.
const maxWrites = 10

// brake reports whether an object is written too often, because somebody else writes
// something else each time: two installations that serve the same class, for example.
func (w *Writer) brake(id identity) bool {
	recent := slices.DeleteFunc(w.often[id], func(at time.Time) bool { return time.Since(at) > logEvery })
	if len(recent) >= maxWrites {
		w.often[id] = recent
		w.fail(id, "writing a status", errors.New("it was written ten times in a minute, and somebody else changes it each time: does another installation serve the same class?"))
		return true
	}
	w.often[id] = append(recent, time.Now())
	return false
}

// fail logs why something can't be written, once a minute for each object.
func (w *Writer) fail(id identity, what string, err error) {
	if last := w.failed[id]; last.text == err.Error() && time.Since(last.at) < logEvery {
		return
	}
	if len(w.failed) > 1000 {
		clear(w.failed)
	}
	w.failed[id] = failure{err.Error(), time.Now()}
	message := what + " failed; it is tried again"
	if apierrors.IsForbidden(err) {
		message = what + " is refused: the ClusterRole or Role of the controller's ServiceAccount must allow it"
	}
	w.options.Log.Warn(message, "kind", id.kind.Elem().Name(), "namespace", id.name.Namespace, "name", id.name.Name, "error", fmt.Sprint(err))
}
