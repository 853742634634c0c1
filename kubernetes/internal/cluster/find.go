package cluster

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
)

// Find returns the object of the Snapshot that has the same type and name as a copy of it
// or a new one; nil if there is none. It is for the types that have a status, and for
// Services.
func (s *Snapshot) Find(object client.Object) client.Object {
	switch o := object.(type) {
	case *networkingv1.Ingress:
		return find(s.Ingresses, o)
	case *corev1.Service:
		return find(s.Services, o)
	case *gatewayv1.GatewayClass:
		return find(s.GatewayClasses, o)
	case *gatewayv1.Gateway:
		return find(s.Gateways, o)
	case *gatewayv1.ListenerSet:
		return find(s.ListenerSets, o)
	case *gatewayv1.HTTPRoute:
		return find(s.HTTPRoutes, o)
	case *gatewayv1.TLSRoute:
		return find(s.TLSRoutes, o)
	case *gatewayv1.TCPRoute:
		return find(s.TCPRoutes, o)
	case *gatewayv1.BackendTLSPolicy:
		return find(s.BackendTLSPolicies, o)
	case *v1alpha1.HoldfastPolicy:
		return find(s.Policies, o)
	}
	return nil
}

func find[T client.Object](sorted []T, object T) client.Object {
	i, ok := slices.BinarySearchFunc(sorted, object, compareNames)
	if !ok {
		return nil
	}
	return sorted[i]
}

func compareNames[T client.Object](a, b T) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}
