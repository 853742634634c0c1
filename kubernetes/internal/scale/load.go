// Package scale knows how busy each Service is, for whoever scales its pods: sessions,
// new sessions and messages per second, and handshakes that wait.
//
// Each replica of the controller measures its own sessions (Local), serves them to the
// other replicas and to Prometheus, and can ask the others (Cluster) to add them up.
package scale

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Load is how busy a Service is, in one replica or in all of them.
type Load struct {
	Sessions int `json:"sessions"`
	// Queue is how many handshakes wait for a backend.
	Queue             int     `json:"queue"`
	MessagesPerSecond float64 `json:"messages_per_second"` // from both sides
	NewPerSecond      float64 `json:"new_sessions_per_second"`
}

func (l *Load) add(o Load) {
	l.Sessions += o.Sessions
	l.Queue += o.Queue
	l.MessagesPerSecond += o.MessagesPerSecond
	l.NewPerSecond += o.NewPerSecond
}

// Report is what one replica says about itself.
type Report struct {
	Replica  string          `json:"replica"` // the name of its pod
	Services []ServiceReport `json:"services"`
}

// ServiceReport is the part of a Report about one Service.
type ServiceReport struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Load
	// Pods have the sessions of each pod of the Service that has any. Endpoints that
	// are no pods aren't among them.
	Pods map[string]int `json:"pods,omitempty"`

	messages, opened uint64 // since the replica knows the Service
}

func (s *ServiceReport) key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

func sortServices(list []ServiceReport) {
	slices.SortFunc(list, func(a, b ServiceReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// isPod reports whether a backend's name is that of a pod. Those that aren't have their
// address as name.
func isPod(name string) bool { return !strings.ContainsAny(name, ":/") }

// Loads are the sums over all replicas.
type Loads struct {
	Services map[types.NamespacedName]Load
	// Pods have the sessions of each pod, also if it belongs to several Services.
	Pods map[types.NamespacedName]int
	// Missing are the names of replicas whose sessions aren't counted, because they
	// don't answer.
	Missing []string
}

func (l *Loads) add(r *Report) {
	for i := range r.Services {
		s := &r.Services[i]
		sum := l.Services[s.key()]
		sum.add(s.Load)
		l.Services[s.key()] = sum
		for pod, n := range s.Pods {
			l.Pods[types.NamespacedName{Namespace: s.Namespace, Name: pod}] += n
		}
	}
}

func newLoads() Loads {
	return Loads{Services: map[types.NamespacedName]Load{}, Pods: map[types.NamespacedName]int{}}
}
