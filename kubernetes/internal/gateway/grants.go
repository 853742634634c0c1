package gateway

import (
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// grants are the ReferenceGrants by their namespace.
type grants map[string][]*gwv1.ReferenceGrant

func newGrants(all []*gwv1.ReferenceGrant) grants {
	g := grants{}
	for _, grant := range all {
		g[grant.Namespace] = append(g[grant.Namespace], grant)
	}
	return g
}

// permit reports whether an object of the Gateway API, given by its kind and namespace, may
// refer to one of the core API.
func (g grants) permit(fromKind, fromNamespace, kind string, to types.NamespacedName) bool {
	if fromNamespace == to.Namespace {
		return true
	}
	for _, grant := range g[to.Namespace] {
		if grantsFrom(grant, fromKind, fromNamespace) && grantsTo(grant, kind, to.Name) {
			return true
		}
	}
	return false
}

func grantsFrom(grant *gwv1.ReferenceGrant, kind, namespace string) bool {
	for _, from := range grant.Spec.From {
		if from.Group == gwv1.GroupName && string(from.Kind) == kind && string(from.Namespace) == namespace {
			return true
		}
	}
	return false
}

func grantsTo(grant *gwv1.ReferenceGrant, kind, name string) bool {
	for _, to := range grant.Spec.To {
		if to.Group == "" && string(to.Kind) == kind && (to.Name == nil || *to.Name == "" || string(*to.Name) == name) {
			return true
		}
	}
	return false
}
