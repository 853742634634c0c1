package ingress

import (
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
	importing "github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Reasons of Events.
const (
	// NotCarriedOver: an annotation can't be carried over.
	NotCarriedOver = "NotCarriedOver"
	// Different: something is done in another way.
	Different = "Different"
	// BackendNotFound: a path leads to no Service that can be used.
	BackendNotFound = "BackendNotFound"
	// CertificateNotUsed: a Secret has no certificate that can be used.
	CertificateNotUsed = "CertificateNotUsed"
	// InvalidPath: a path or host can't be matched.
	InvalidPath = "InvalidPath"
	// InvalidConfiguration: a value isn't accepted.
	InvalidConfiguration = "InvalidConfiguration"
)

// maxEvents bounds the Events of an Ingress.
const maxEvents = 30

// told is what is told once.
type told struct {
	*source
	message string
}

// notes tells what the importer has to say.
func (v *translator) notes() {
	for _, n := range v.report.Notes {
		s := v.byFile[n.File]
		switch {
		case s == nil:
		case n.Outcome == importer.Refused:
			message := n.Message()
			if name := strings.TrimPrefix(s.annotations[n.Line], importing.AnnotationPrefix); !n.Lost && importing.Closes(name) {
				message += fmt.Sprintf("; until then, the paths of this Ingress answer 503 (the annotation "+importing.AcceptLoss+": %s serves them without it)", name)
			}
			v.event(s, true, reason(&n), message)
		case n.Outcome == importer.Different:
			v.event(s, false, Different, n.Message())
		}
	}
}

func reason(n *importer.Note) string {
	what, _, _ := strings.Cut(n.Directive, " ")
	switch what {
	case "backend":
		return BackendNotFound
	case "tls":
		return CertificateNotUsed
	case "path", "host":
		return InvalidPath
	}
	return NotCarriedOver
}

func (v *translator) event(s *source, warning bool, reason, message string) {
	key := told{s, message}
	if v.told[key] || s.events > maxEvents {
		return
	}
	v.told[key] = true
	if s.events++; s.events > maxEvents {
		warning, reason, message = true, InvalidConfiguration, fmt.Sprintf("there is more to say about this Ingress than %d Events: holdfast import ingress says it all", maxEvents)
	}
	v.result.Events = append(v.result.Events, translate.Event{Object: s.object, Warning: warning, Reason: reason, Message: message})
}
