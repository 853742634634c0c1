package keda

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
)

// trigger is what a ScaledObject's trigger asks for.
type trigger struct {
	service    types.NamespacedName
	metric     metric
	target     float64 // of each pod
	activation float64 // the trigger is active above this
}

// metric is one of the figures by which a Service can be scaled.
type metric struct {
	word string // in the metadata
	name string // in the API; KEDA puts the number of the trigger before it
	of   func(scale.Load) float64
}

var metrics = []metric{
	{"sessions", "holdfast-sessions", func(l scale.Load) float64 { return float64(l.Sessions) }},
	{"messagesPerSecond", "holdfast-messages-per-second", func(l scale.Load) float64 { return l.MessagesPerSecond }},
	{"newSessionsPerSecond", "holdfast-new-sessions-per-second", func(l scale.Load) float64 { return l.NewPerSecond }},
	{"queue", "holdfast-queue", func(l scale.Load) float64 { return float64(l.Queue) }},
}

// Keys of the metadata of a trigger. KEDA hands on its own as well.
const (
	serviceKey    = "service"
	namespaceKey  = "namespace"
	metricKey     = "metric"
	targetKey     = "targetValue"
	activationKey = "activation"
)

var (
	ownKeys   = []string{serviceKey, namespaceKey, metricKey, targetKey, activationKey}
	kedasKeys = []string{"scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile", "caCert", "tlsClientCert", "tlsClientKey"}
)

// parse reads a trigger. The error has the code InvalidArgument or PermissionDenied, and says
// what to write.
func parse(ref *externalscaler.ScaledObjectRef) (t trigger, err error) {
	metadata := ref.GetScalerMetadata()
	for key := range metadata {
		if !slices.Contains(ownKeys, key) && !slices.Contains(kedasKeys, key) {
			return t, invalid(ref, "unknown key %s in the trigger's metadata%s (known here: %s)", hint.Quote(key), hint.DidYouMean(key, ownKeys), strings.Join(ownKeys, ", "))
		}
	}
	t.service = types.NamespacedName{Namespace: ref.GetNamespace(), Name: metadata[serviceKey]}
	if t.service.Name == "" {
		return t, invalid(ref, "the name of the Service is missing in the trigger's metadata: write for example service: chat")
	}
	if validation.IsDNS1123Label(t.service.Name) != nil {
		return t, invalid(ref, "%s is no name of a Service: write for example service: chat", hint.Quote(t.service.Name))
	}
	// Otherwise whoever can make ScaledObjects in one namespace could watch the others.
	if ns := metadata[namespaceKey]; ns != "" && ns != ref.GetNamespace() {
		return t, failure(codes.PermissionDenied, ref, "the Service must be in the namespace of the ScaledObject, and not in %s", hint.Quote(ns))
	}
	word := metadata[metricKey]
	if word == "" {
		word = metrics[0].word
	}
	i := slices.IndexFunc(metrics, func(m metric) bool { return m.word == word })
	if i < 0 {
		return t, invalid(ref, "unknown metric %s: write sessions, messagesPerSecond, newSessionsPerSecond or queue%s", hint.Quote(word), hint.DidYouMean(word, words()))
	}
	t.metric = metrics[i]
	if metadata[targetKey] == "" {
		return t, invalid(ref, "the target is missing in the trigger's metadata: write how much of it one pod should have, for example targetValue: \"5000\"")
	}
	if t.target, err = number(metadata[targetKey]); err != nil || t.target == 0 {
		return t, invalid(ref, "bad targetValue %s: write a number above 0, such as \"5000\"", hint.Quote(metadata[targetKey]))
	}
	if text := metadata[activationKey]; text != "" {
		if t.activation, err = number(text); err != nil {
			return t, invalid(ref, "bad activation %s: write a number from 0 on, such as \"0\"", hint.Quote(text))
		}
	}
	return t, nil
}

func words() (list []string) {
	for _, m := range metrics {
		list = append(list, m.word)
	}
	return list
}

// most is far above any number of sessions, and exact in both types of the API's numbers.
const most = 1 << 50

func number(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err == nil && (math.IsNaN(v) || v < 0 || v > most) {
		err = strconv.ErrRange
	}
	return v, err
}

func invalid(ref *externalscaler.ScaledObjectRef, format string, args ...any) error {
	return failure(codes.InvalidArgument, ref, format, args...)
}

// failure is an error about a ScaledObject. KEDA writes it to its log and to the
// ScaledObject's events.
func failure(code codes.Code, ref *externalscaler.ScaledObjectRef, format string, args ...any) error {
	return status.Errorf(code, "holdfast: ScaledObject %s: %s", hint.Quote(ref.GetNamespace()+"/"+ref.GetName()), fmt.Sprintf(format, args...))
}
