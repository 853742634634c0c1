package leader

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// maxMessage is what the API server takes, in bytes.
const maxMessage = 1024

// Events reports Events, each once for a generation of its object. Client-go's recorder
// writes them on a goroutine of its own, joins equal ones, and bounds how many there are
// of one object.
type Events struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
	// reported has those of the last list, by their hash. Only the Writer uses it.
	reported map[[sha256.Size]byte]bool
}

// NewEvents returns Events that are written with a client until ctx is done. component is
// who reports them.
func NewEvents(ctx context.Context, config *rest.Config, scheme *runtime.Scheme, component string) (*Events, error) {
	core, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	e := &Events{broadcaster: record.NewBroadcaster(record.WithContext(ctx)), reported: map[[sha256.Size]byte]bool{}}
	e.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: core.Events("")})
	e.recorder = e.broadcaster.NewRecorder(scheme, corev1.EventSource{Component: component})
	return e, nil
}

// Close waits until the recorder has stopped.
func (e *Events) Close() { e.broadcaster.Shutdown() }

// report reports the Events that weren't in the last list.
func (e *Events) report(events []translate.Event) {
	now := make(map[[sha256.Size]byte]bool, len(events))
	for _, event := range events {
		if event.Object == nil {
			continue
		}
		message := cut(event.Message)
		key := sha256.Sum256(fmt.Appendf(nil, "%T %s %s/%s %d %t %s %s", event.Object, event.Object.GetUID(), event.Object.GetNamespace(), event.Object.GetName(),
			event.Object.GetGeneration(), event.Warning, event.Reason, message))
		if now[key] {
			continue
		}
		now[key] = true
		if e.reported[key] {
			continue
		}
		kind := corev1.EventTypeNormal
		if event.Warning {
			kind = corev1.EventTypeWarning
		}
		e.recorder.Event(event.Object, kind, event.Reason, message)
	}
	e.reported = now
}

// cut makes a message one that the API server takes.
func cut(message string) string {
	message = strings.ToValidUTF8(message, "?")
	message = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return '?'
		}
		return r
	}, message)
	if len(message) <= maxMessage {
		return message
	}
	const more = "…"
	end := maxMessage - len(more)
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + more
}
