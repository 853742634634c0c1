package cluster

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// wanted notes which Secrets and ConfigMaps were looked up, whether they were there or
// not. It is all that ever changes in a Snapshot.
//
// Only these are read from the API server: a cluster has many more, and the controller
// shouldn't hold what it doesn't use.
type wanted struct {
	mu                  sync.Mutex
	secrets, configMaps map[types.NamespacedName]bool
}

func (w *wanted) note(list *map[types.NamespacedName]bool, name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *list == nil {
		*list = map[types.NamespacedName]bool{}
	}
	(*list)[name] = true
}

// Wanted returns the names for which Secret and ConfigMap were called, sorted.
func (s *Snapshot) Wanted() (secrets, configMaps []types.NamespacedName) {
	s.wanted.mu.Lock()
	defer s.wanted.mu.Unlock()
	return sorted(s.wanted.secrets), sorted(s.wanted.configMaps)
}

func sorted(names map[types.NamespacedName]bool) []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(names), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
}
