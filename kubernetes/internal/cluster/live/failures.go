package live

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"
)

// failures logs why the API server can't be asked: the first time, when the reason
// changes, and each minute. Informers try again by themselves, with longer and longer
// pauses up to 30 s or so.
type failures struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]failure
}

type failure struct {
	text string
	at   time.Time
}

const logFailuresEvery = time.Minute

// handle is the handler of informers.
func (f *failures) handle(_ context.Context, r *toolscache.Reflector, err error) {
	switch {
	case errors.Is(err, io.EOF), apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		return // a watch ends from time to time
	}
	f.report(r.TypeDescription(), err)
}

func (f *failures) report(what string, err error) {
	message := "the API server can't be asked; what is known stays in use, and it is asked again"
	var status apierrors.APIStatus
	switch {
	case !errors.As(err, &status): // all kinds have the same trouble
		message = "the API server can't be reached; what is known stays in use, and it is tried again"
		what = ""
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		message = "the API server refuses to list or watch a resource: the ClusterRole or Role of the controller's ServiceAccount must allow get, list and watch"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		f.last = map[string]failure{}
	}
	if last := f.last[what]; (last.text == err.Error() || what == "") && time.Since(last.at) < logFailuresEvery {
		return
	}
	f.last[what] = failure{err.Error(), time.Now()}
	f.log.Error(message, "resource", what, "error", err)
}

// ended forgets the failures of a resource that works again or isn't followed any more.
func (f *failures) ended(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.last, what)
}
