// Package gateway makes parts of a configuration of the objects of the Gateway API, and
// says in their statuses what became of them.
//
// Each port of a Gateway is one listener of the balancer, and each match of an HTTPRoute
// one route on it for each of its hosts. What an object asks for and the balancer can't do
// is never left out silently: the rule answers 500, and the object's status says why.
package gateway

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Options are what Translate needs to know beside the objects.
type Options struct {
	// ControllerName is that of the GatewayClasses to serve, such as holdfast.dev/gateway.
	ControllerName string
	// Namespace is the controller's own. The Services of Gateways are in it, since a
	// Service selects pods of its own namespace only.
	Namespace string
	// Selector has the labels of the controller's pods, for these Services.
	Selector map[string]string
	// ServiceType is the type of these Services; "" is LoadBalancer.
	ServiceType corev1.ServiceType
	// CookieSecret makes the keys that sign the cookies of session persistence. Without
	// one, they are made of the names of pools, which others may know.
	CookieSecret string
	// Now is the time of a condition that changes.
	Now time.Time
}

// Translate makes parts of a configuration of the Gateways with a class of ours and of the
// routes and policies that belong to them. It changes nothing of s.
func Translate(s *cluster.Snapshot, o Options) *translate.Result {
	t := &translator{
		s: s, o: o, now: metav1.NewTime(o.Now.Truncate(time.Second)),
		result:   new(translate.Result),
		gateways: map[types.NamespacedName]*gateway{},
		sets:     map[types.NamespacedName]*listenerSet{},
		pools:    map[string]bool{},
		secrets:  map[secretUse]pair{},
	}
	t.grants = newGrants(s.ReferenceGrants)
	classes := t.classes()
	t.readGateways(classes)
	t.readListenerSets()
	for _, g := range t.ordered {
		t.checkListeners(g)
	}
	t.policies = t.readTLSPolicies()
	t.allocate()
	t.httpRoutes()
	t.tlsRoutes()
	t.tcpRoutes()
	for _, g := range t.ordered {
		t.serve(g)
		t.gatewayStatus(g)
	}
	for _, g := range t.ordered {
		t.keepPools(g)
	}
	t.listenerSetStatuses()
	t.tlsPolicyStatuses()
	return t.result
}

// translator is one translation.
type translator struct {
	s      *cluster.Snapshot
	o      Options
	now    metav1.Time
	result *translate.Result
	grants grants

	gateways map[types.NamespacedName]*gateway
	ordered  []*gateway // in the order of the snapshot
	sets     map[types.NamespacedName]*listenerSet
	policies *tlsPolicies
	pools    map[string]bool // those in result
	room     room
	secrets  map[secretUse]pair
}

// gateway is a Gateway with a class of ours.
type gateway struct {
	object *gwv1.Gateway
	// rejected says why the Gateway as a whole isn't served; its reason is "" if it is.
	rejected verdict
	sets     []*listenerSet // those that are allowed, in their order
	// listeners are the Gateway's own, and behind them those of sets.
	listeners []*listener
	ports     []*port // in the order of their numbers; those with a distinct listener
	service   *corev1.Service

	clientCert *clientCert // for backends; nil: none
	resolved   verdict     // of the reference to clientCert
	programmed bool
}

func (g *gateway) name() types.NamespacedName { return nameOf(g.object) }

// port is a port of a Gateway, which is one listener of the balancer.
type port struct {
	number    int32
	target    int32 // where the balancer listens; 0: no Service leads to it yet
	family    family
	listeners []*listener // the more specific host first
}

// verdict is a condition that has failed, or succeeded if its reason is "".
type verdict struct{ reason, message string }

func (v verdict) ok() bool { return v.reason == "" }

// orElse is v if it has failed, otherwise w.
func (v verdict) orElse(w verdict) verdict {
	if v.ok() {
		return w
	}
	return v
}

func nameOf(o client.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// byAge sorts the oldest first, as the Gateway API breaks ties: then by "NAMESPACE/NAME".
func byAge(a, b client.Object) int {
	created := a.GetCreationTimestamp()
	other := b.GetCreationTimestamp()
	return cmp.Or(created.Time.Compare(other.Time),
		cmp.Compare(nameOf(a).String(), nameOf(b).String()))
}

// readGateways finds the Gateways with a class of ours.
func (t *translator) readGateways(classes map[string]verdict) {
	for _, object := range t.s.Gateways {
		rejected, ours := classes[string(object.Spec.GatewayClassName)]
		if !ours && t.orphan(object) {
			rejected, ours = verdict{string(gwv1.GatewayReasonPending), "there is no such GatewayClass"}, true
		}
		if !ours {
			continue
		}
		g := &gateway{object: object, rejected: rejected}
		t.gateways[g.name()] = g
		t.ordered = append(t.ordered, g)
		g.rejected = g.rejected.orElse(t.checkInfrastructure(object)).orElse(checkAddresses(object))
		g.clientCert, g.resolved = t.clientCertOf(object)
		for i := range object.Spec.Listeners {
			l := &object.Spec.Listeners[i]
			g.listeners = append(g.listeners, &listener{
				gateway: g, owner: object, ownerKind: "Gateway", name: l.Name, port: l.Port, protocol: l.Protocol,
				host: hostOf(l.Hostname), tls: l.TLS, allowed: l.AllowedRoutes,
			})
		}
	}
}

// orphan reports whether the class of a Gateway doesn't exist, and was ours: the Gateway has
// its Service still. It keeps that and its pools, so that a class that is made again, as by
// a new installation, costs no session and no address.
func (t *translator) orphan(g *gwv1.Gateway) bool {
	for _, class := range t.s.GatewayClasses {
		if class.Name == string(g.Spec.GatewayClassName) {
			return false
		}
	}
	s := t.s.Service(t.o.Namespace, serviceName(nameOf(g)))
	return s != nil && s.Annotations[translate.GatewayRef] == nameOf(g).String()
}

// checkInfrastructure refuses parameters: there are none that this controller reads.
func (t *translator) checkInfrastructure(g *gwv1.Gateway) verdict {
	if i := g.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		return verdict{string(gwv1.GatewayReasonInvalidParameters),
			"infrastructure.parametersRef is not supported: leave it out"}
	}
	return verdict{}
}

// unique appends s to list unless it is in it.
func unique[T comparable](list []T, s T) []T {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
