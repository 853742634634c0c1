package live

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// kind is one kind of objects that is followed.
type kind struct {
	version  schema.GroupVersion
	resource string // in the plural, as in URLs and in RBAC rules
	object   client.Object
	// installed is false for those that may not be there.
	installed bool
	// content is false if only the metadata is followed.
	content bool
}

func (k kind) String() string {
	if k.version.Group == "" {
		return k.resource
	}
	return k.resource + "." + k.version.Group
}

// kindsOf lists what is followed.
func kindsOf(gatewayAPI bool) []kind {
	kinds := []kind{
		{networkingv1.SchemeGroupVersion, "ingressclasses", &networkingv1.IngressClass{}, true, true},
		{networkingv1.SchemeGroupVersion, "ingresses", &networkingv1.Ingress{}, true, true},
		{corev1.SchemeGroupVersion, "services", &corev1.Service{}, true, true},
		{discoveryv1.SchemeGroupVersion, "endpointslices", &discoveryv1.EndpointSlice{}, true, true},
		{corev1.SchemeGroupVersion, "namespaces", &corev1.Namespace{}, true, true},
		{corev1.SchemeGroupVersion, "pods", metadata("Pod"), true, true},
		{corev1.SchemeGroupVersion, "secrets", metadata("Secret"), true, false},
		{corev1.SchemeGroupVersion, "configmaps", metadata("ConfigMap"), true, false},
		{v1alpha1.GroupVersion, "holdfastpolicies", &v1alpha1.HoldfastPolicy{}, false, true},
	}
	if gatewayAPI {
		version := gatewayv1.SchemeGroupVersion
		kinds = append(kinds,
			kind{version, "gatewayclasses", &gatewayv1.GatewayClass{}, false, true},
			kind{version, "gateways", &gatewayv1.Gateway{}, false, true},
			kind{version, "listenersets", &gatewayv1.ListenerSet{}, false, true},
			kind{version, "httproutes", &gatewayv1.HTTPRoute{}, false, true},
			kind{version, "tlsroutes", &gatewayv1.TLSRoute{}, false, true},
			kind{version, "tcproutes", &gatewayv1.TCPRoute{}, false, true},
			kind{version, "backendtlspolicies", &gatewayv1.BackendTLSPolicy{}, false, true},
			kind{version, "referencegrants", &gatewayv1.ReferenceGrant{}, false, true},
		)
	}
	return kinds
}

// Mapper knows the resources of all kinds that the controller reads or writes, so that no
// API server has to be asked for them before it is there.
func Mapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, k := range kindsOf(true) {
		name := reflect.TypeOf(k.object).Elem().Name()
		if o, ok := k.object.(*metav1.PartialObjectMetadata); ok {
			name = o.Kind
		}
		scope := meta.RESTScopeNamespace
		switch name {
		case "Namespace", "IngressClass", "GatewayClass":
			scope = meta.RESTScopeRoot
		}
		singular := k.version.WithResource(strings.ToLower(name))
		mapper.AddSpecific(k.version.WithKind(name), k.version.WithResource(k.resource), singular, scope)
	}
	return mapper
}

// metadata is an object of the core group of which only the metadata is read.
func metadata(kind string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}}
}

// strip takes out of an object what nobody needs, before it is kept: a cluster may have
// ten thousands of Pods and EndpointSlices. What is left out here can't make a change,
// either.
func strip(object any) (any, error) {
	o, ok := object.(client.Object)
	if !ok {
		return object, nil
	}
	o.SetManagedFields(nil)
	switch o := o.(type) {
	case *metav1.PartialObjectMetadata:
		all := o.Annotations
		o.Annotations, o.Labels, o.Finalizers = nil, nil, nil
		for _, key := range []string{cluster.PodDeletionCost, cluster.WrittenDeletionCost} {
			if value, ok := all[key]; ok {
				metav1.SetMetaDataAnnotation(&o.ObjectMeta, key, value)
			}
		}
	case *discoveryv1.EndpointSlice:
		// The annotation is the time of the last change.
		o.Annotations, o.OwnerReferences = nil, nil
		o.Labels = map[string]string{discoveryv1.LabelServiceName: o.Labels[discoveryv1.LabelServiceName]}
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			e.NodeName, e.Zone, e.Hints, e.DeprecatedTopology = nil, nil, nil, nil
		}
	default:
		delete(o.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	}
	return o, nil
}

// same reports whether a new version of an object makes no difference to anybody.
func same(old, new client.Object) bool {
	if old.GetResourceVersion() == new.GetResourceVersion() {
		return true // listed again, or a resync
	}
	if old.GetUID() != new.GetUID() {
		return false
	}
	if new, ok := new.(*discoveryv1.EndpointSlice); ok { // the most frequent ones
		old := old.(*discoveryv1.EndpointSlice)
		return old.Labels[discoveryv1.LabelServiceName] == new.Labels[discoveryv1.LabelServiceName] &&
			equality.Semantic.DeepEqual(old.Ports, new.Ports) && equality.Semantic.DeepEqual(old.Endpoints, new.Endpoints)
	}
	copied := new.DeepCopyObject().(client.Object)
	copied.SetResourceVersion(old.GetResourceVersion())
	return equality.Semantic.DeepEqual(old, copied)
}
