// Package cluster has the objects of a cluster that the controller reads: as a Snapshot,
// which never changes, and from informers, which make a new Snapshot after each change.
package cluster

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
)

// Snapshot is what the controller knows of a cluster at one time. Each list is sorted by
// namespace and name. Nobody changes a Snapshot or an object in it: the informers share
// the objects. Take a DeepCopy to change one.
type Snapshot struct {
	IngressClasses []*networkingv1.IngressClass
	Ingresses      []*networkingv1.Ingress
	Services       []*corev1.Service
	EndpointSlices []*discoveryv1.EndpointSlice
	Pods           []*metav1.PartialObjectMetadata
	// Secrets and ConfigMaps are only those that something refers to: the controller
	// reads the ones that translators have looked up, see Secret.
	Secrets    []*corev1.Secret
	ConfigMaps []*corev1.ConfigMap
	Namespaces []*corev1.Namespace

	// These are empty while the Gateway API isn't installed.
	GatewayClasses     []*gatewayv1.GatewayClass
	Gateways           []*gatewayv1.Gateway
	ListenerSets       []*gatewayv1.ListenerSet
	HTTPRoutes         []*gatewayv1.HTTPRoute
	TLSRoutes          []*gatewayv1.TLSRoute
	TCPRoutes          []*gatewayv1.TCPRoute
	BackendTLSPolicies []*gatewayv1.BackendTLSPolicy
	ReferenceGrants    []*gatewayv1.ReferenceGrant

	// Policies is empty while HoldfastPolicy isn't installed.
	Policies []*v1alpha1.HoldfastPolicy

	services       map[types.NamespacedName]*corev1.Service
	secrets        map[types.NamespacedName]*corev1.Secret
	configMaps     map[types.NamespacedName]*corev1.ConfigMap
	pods           map[types.NamespacedName]*metav1.PartialObjectMetadata
	namespaces     map[string]*corev1.Namespace
	endpointSlices map[types.NamespacedName][]*discoveryv1.EndpointSlice

	wanted wanted
}

// New returns a Snapshot of the objects, which may be in any order. It returns an error
// if there is one of a type that a Snapshot doesn't have.
func New(objects []client.Object) (*Snapshot, error) {
	s := &Snapshot{}
	for _, object := range objects {
		switch o := object.(type) {
		case *networkingv1.IngressClass:
			s.IngressClasses = append(s.IngressClasses, o)
		case *networkingv1.Ingress:
			s.Ingresses = append(s.Ingresses, o)
		case *corev1.Service:
			s.Services = append(s.Services, o)
		case *discoveryv1.EndpointSlice:
			s.EndpointSlices = append(s.EndpointSlices, o)
		case *metav1.PartialObjectMetadata:
			s.Pods = append(s.Pods, o)
		case *corev1.Secret:
			s.Secrets = append(s.Secrets, o)
		case *corev1.ConfigMap:
			s.ConfigMaps = append(s.ConfigMaps, o)
		case *corev1.Namespace:
			s.Namespaces = append(s.Namespaces, o)
		case *gatewayv1.GatewayClass:
			s.GatewayClasses = append(s.GatewayClasses, o)
		case *gatewayv1.Gateway:
			s.Gateways = append(s.Gateways, o)
		case *gatewayv1.ListenerSet:
			s.ListenerSets = append(s.ListenerSets, o)
		case *gatewayv1.HTTPRoute:
			s.HTTPRoutes = append(s.HTTPRoutes, o)
		case *gatewayv1.TLSRoute:
			s.TLSRoutes = append(s.TLSRoutes, o)
		case *gatewayv1.TCPRoute:
			s.TCPRoutes = append(s.TCPRoutes, o)
		case *gatewayv1.BackendTLSPolicy:
			s.BackendTLSPolicies = append(s.BackendTLSPolicies, o)
		case *gatewayv1.ReferenceGrant:
			s.ReferenceGrants = append(s.ReferenceGrants, o)
		case *v1alpha1.HoldfastPolicy:
			s.Policies = append(s.Policies, o)
		default:
			return nil, fmt.Errorf("a snapshot has no objects of type %T", object)
		}
	}
	s.sort()
	s.index()
	return s, nil
}

func (s *Snapshot) sort() {
	byName(s.IngressClasses)
	byName(s.Ingresses)
	byName(s.Services)
	byName(s.EndpointSlices)
	byName(s.Pods)
	byName(s.Secrets)
	byName(s.ConfigMaps)
	byName(s.Namespaces)
	byName(s.GatewayClasses)
	byName(s.Gateways)
	byName(s.ListenerSets)
	byName(s.HTTPRoutes)
	byName(s.TLSRoutes)
	byName(s.TCPRoutes)
	byName(s.BackendTLSPolicies)
	byName(s.ReferenceGrants)
	byName(s.Policies)
}

func byName[T client.Object](objects []T) { slices.SortFunc(objects, compareNames[T]) }

func (s *Snapshot) index() {
	s.services = mapOf(s.Services)
	s.secrets = mapOf(s.Secrets)
	s.configMaps = mapOf(s.ConfigMaps)
	s.pods = mapOf(s.Pods)
	s.namespaces = make(map[string]*corev1.Namespace, len(s.Namespaces))
	for _, n := range s.Namespaces {
		s.namespaces[n.Name] = n
	}
	s.endpointSlices = map[types.NamespacedName][]*discoveryv1.EndpointSlice{}
	for _, e := range s.EndpointSlices {
		if service := e.Labels[discoveryv1.LabelServiceName]; service != "" {
			name := types.NamespacedName{Namespace: e.Namespace, Name: service}
			s.endpointSlices[name] = append(s.endpointSlices[name], e)
		}
	}
}

func mapOf[T client.Object](objects []T) map[types.NamespacedName]T {
	m := make(map[types.NamespacedName]T, len(objects))
	for _, o := range objects {
		m[client.ObjectKeyFromObject(o)] = o
	}
	return m
}

// Service returns the Service with the name; nil if there is none.
func (s *Snapshot) Service(namespace, name string) *corev1.Service {
	return s.services[types.NamespacedName{Namespace: namespace, Name: name}]
}

// Secret returns the Secret with the name; nil if there is none. It is also how the
// controller learns that the Secret is needed: it reads those that were looked up and are
// not in the Snapshot, and calls the translators again.
func (s *Snapshot) Secret(namespace, name string) *corev1.Secret {
	n := types.NamespacedName{Namespace: namespace, Name: name}
	s.wanted.note(&s.wanted.secrets, n)
	return s.secrets[n]
}

// ConfigMap returns the ConfigMap with the name, as Secret does; nil if there is none.
func (s *Snapshot) ConfigMap(namespace, name string) *corev1.ConfigMap {
	n := types.NamespacedName{Namespace: namespace, Name: name}
	s.wanted.note(&s.wanted.configMaps, n)
	return s.configMaps[n]
}

// Namespace returns the Namespace with the name; nil if there is none.
func (s *Snapshot) Namespace(name string) *corev1.Namespace { return s.namespaces[name] }

// Pod returns the metadata of the Pod with the name; nil if there is none.
func (s *Snapshot) Pod(namespace, name string) *metav1.PartialObjectMetadata {
	return s.pods[types.NamespacedName{Namespace: namespace, Name: name}]
}

// EndpointSlicesOf returns the EndpointSlices of a Service, sorted by name. The caller
// must not change the list.
func (s *Snapshot) EndpointSlicesOf(namespace, service string) []*discoveryv1.EndpointSlice {
	return s.endpointSlices[types.NamespacedName{Namespace: namespace, Name: service}]
}
