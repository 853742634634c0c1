package gateway

import (
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Bounds of the routes of the configuration, so that nobody who may make objects in a
// namespace uses up the memory of all.
const (
	maxRoutes          = 8192 // of one object
	maxNamespaceRoutes = 20_000
	maxAllRoutes       = 100_000
	// maxPorts bounds the ports of the Gateways of a namespace.
	maxPorts = 200
)

// room is what is left of these bounds. The zero value is all of it.
type room struct {
	all         int
	byNamespace map[string]int
}

// take takes n routes for an object of a namespace, or says why there is no room for them.
func (r *room) take(namespace string, n int) verdict {
	if r.byNamespace == nil {
		r.byNamespace = map[string]int{}
	}
	const each = "the route has %d combinations of a match, a hostname and a listener, and "
	no := func(format string, args ...any) verdict {
		return verdict{string(gwv1.RouteReasonUnsupportedValue), fmt.Sprintf(each+format, append([]any{n}, args...)...)}
	}
	switch {
	case n > maxRoutes:
		return no("%d is the most: split it up", maxRoutes)
	case r.byNamespace[namespace]+n > maxNamespaceRoutes:
		return no("older ones of its namespace leave no room for them: %d is the most", maxNamespaceRoutes)
	case r.all+n > maxAllRoutes:
		return no("older ones of all namespaces leave no room for them: %d is the most", maxAllRoutes)
	}
	r.byNamespace[namespace] += n
	r.all += n
	return verdict{}
}

// oldestFirst sorts objects so that a newer one takes nothing from an older one.
func oldestFirst[T client.Object](objects []T) []T {
	sorted := slices.Clone(objects)
	slices.SortFunc(sorted, func(a, b T) int { return byAge(a, b) })
	return sorted
}
