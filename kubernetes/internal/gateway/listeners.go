package gateway

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// family is what the balancer's listener of a port speaks. Listeners of one port must have
// the same.
type family uint8

const (
	unsupported family = iota
	plainHTTP
	https
	passthrough
	terminated // TLS, whose insides are passed on
	tcp
)

// listener is a listener of a Gateway or a ListenerSet.
type listener struct {
	gateway   *gateway
	set       *listenerSet  // nil: it is the Gateway's own
	owner     client.Object // the Gateway or the ListenerSet
	ownerKind string

	name     gwv1.SectionName
	port     int32
	protocol gwv1.ProtocolType
	host     string // in lower case; "" is every host
	tls      *gwv1.ListenerTLSConfig
	allowed  *gwv1.AllowedRoutes

	family   family
	kinds    []gwv1.RouteGroupKind // of routes that may be attached
	accepted verdict
	conflict verdict
	resolved verdict
	unusable verdict // why it can't be served though it is accepted
	certs    []config.Certificate
	clientCA *config.PEM // nil: no client certificates

	attached int32 // routes
	rules    []hostRule
	kept     []*rule // those of all attached routes, also if they aren't served
	streams  []stream
}

// distinct reports whether l takes part in how the traffic of its port is told apart.
func (l *listener) distinct() bool { return l.accepted.ok() && l.conflict.ok() }

// supported are the kinds of routes that l takes: none on a port that has another protocol.
func (l *listener) supported() []gwv1.RouteGroupKind {
	if l.conflict.reason == string(gwv1.ListenerReasonProtocolConflict) {
		return []gwv1.RouteGroupKind{}
	}
	return l.kinds
}

// valid reports whether l can be served.
func (l *listener) valid() bool { return l.distinct() && l.unusable.ok() }

func hostOf(h *gwv1.Hostname) string {
	if h == nil {
		return ""
	}
	return strings.ToLower(string(*h))
}

// checkListeners finds out which listeners of g can be served, and on which ports.
func (t *translator) checkListeners(g *gateway) {
	for _, l := range g.listeners {
		t.checkListener(l)
	}
	// The listeners of a Gateway come before those of its sets, and an older set before a
	// newer one, so that nobody takes a port or a host from somebody before. Within one
	// object, none of those that conflict is better than the other.
	before := newClaims()
	for rest := g.listeners; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].owner == rest[0].owner {
			n++
		}
		conflicts(before, rest[:n])
		rest = rest[n:]
	}
	g.ports = portsOf(g.listeners)
}

// claims are the ports and hosts of listeners, counted.
type claims struct {
	families map[int32]map[family]int // by port
	hosts    map[hostClaim]int
}

type hostClaim struct {
	port int32
	host string
}

func newClaims() *claims {
	return &claims{map[int32]map[family]int{}, map[hostClaim]int{}}
}

func (c *claims) add(l *listener) {
	if c.families[l.port] == nil {
		c.families[l.port] = map[family]int{}
	}
	c.families[l.port][l.family]++
	c.hosts[hostClaim{l.port, l.host}]++
}

// conflict is why l can't be beside those of c. own says how many of these are l itself.
func (c *claims) conflict(l *listener, own int) verdict {
	for f := range c.families[l.port] {
		if f != l.family {
			return verdict{string(gwv1.ListenerReasonProtocolConflict), fmt.Sprintf("another listener of the Gateway has port %d with another protocol or TLS mode", l.port)}
		}
	}
	if c.hosts[hostClaim{l.port, l.host}] > own {
		return verdict{string(gwv1.ListenerReasonHostnameConflict), fmt.Sprintf("another listener of the Gateway has port %d with the same hostname", l.port)}
	}
	return verdict{}
}

// conflicts marks the listeners of one object that conflict with those of others before or
// with each other. It adds those to before that keep others away.
func conflicts(before *claims, listeners []*listener) {
	own := newClaims()
	var claiming []*listener
	for _, l := range listeners {
		if l.family == unsupported {
			continue
		}
		if l.conflict = before.conflict(l, 0); l.conflict.ok() {
			own.add(l)
			claiming = append(claiming, l)
		}
	}
	for _, l := range claiming {
		l.conflict = own.conflict(l, 1)
		before.add(l)
	}
}

// portsOf puts the distinct listeners together by their port.
func portsOf(all []*listener) (ports []*port) {
	for _, l := range all {
		if !l.distinct() {
			continue
		}
		i := slices.IndexFunc(ports, func(p *port) bool { return p.number == l.port })
		if i < 0 {
			i = len(ports)
			ports = append(ports, &port{number: l.port, family: l.family})
		}
		ports[i].listeners = append(ports[i].listeners, l)
	}
	slices.SortFunc(ports, func(a, b *port) int { return int(a.number) - int(b.number) })
	for _, p := range ports {
		slices.SortStableFunc(p.listeners, func(a, b *listener) int { return moreSpecific(a.host, b.host) })
	}
	return ports
}

// checkListener finds out what is wrong with l itself.
func (t *translator) checkListener(l *listener) {
	switch l.protocol {
	case gwv1.HTTPProtocolType:
		l.family = plainHTTP
		l.supportKinds("HTTPRoute")
	case gwv1.HTTPSProtocolType:
		l.family = https
		l.supportKinds("HTTPRoute")
		if l.mode() != gwv1.TLSModeTerminate {
			l.accepted = verdict{string(gwv1.ListenerReasonUnsupportedValue), "a listener with protocol HTTPS has tls.mode Terminate: for Passthrough write protocol TLS"}
		}
	case gwv1.TLSProtocolType:
		l.family = terminated
		if l.mode() == gwv1.TLSModePassthrough {
			l.family = passthrough
		}
		l.supportKinds("TLSRoute")
	case gwv1.TCPProtocolType:
		l.family, l.host = tcp, ""
		l.supportKinds("TCPRoute")
	default:
		l.kinds = []gwv1.RouteGroupKind{}
		l.accepted = verdict{string(gwv1.ListenerReasonUnsupportedProtocol), fmt.Sprintf("the protocol %.64q is not supported: HTTP, HTTPS, TLS and TCP are", l.protocol)}
		return
	}
	if l.tls != nil && len(l.tls.Options) > 0 {
		t.ignored(l.owner, fmt.Sprintf("the listener %.64q has tls.options, of which none is supported", l.name))
	}
	if _, err := pattern.ParseHost(l.host); l.host != "" && err != nil {
		l.accepted = verdict{string(gwv1.ListenerReasonUnsupportedValue), plain(err)}
	}
	if len(l.kinds) == 0 {
		l.unusable = l.resolved
	}
	if l.family == https || l.family == terminated {
		t.certificates(l)
	}
	if l.family == https {
		t.clientValidation(l)
	}
}

// ignored reports what has no effect, and changes nothing of what is served.
func (t *translator) ignored(o client.Object, message string) {
	t.result.Events = append(t.result.Events, translate.Event{Object: o, Reason: "Ignored", Message: message})
}

// mode is how a listener treats TLS.
func (l *listener) mode() gwv1.TLSModeType {
	if l.tls == nil || l.tls.Mode == nil {
		return gwv1.TLSModeTerminate
	}
	return *l.tls.Mode
}

// supportKinds sets the kinds of routes of l, of which the family has one.
func (l *listener) supportKinds(kind gwv1.Kind) {
	group := gwv1.Group(gwv1.GroupName)
	l.kinds = []gwv1.RouteGroupKind{{Group: &group, Kind: kind}}
	if l.allowed == nil || len(l.allowed.Kinds) == 0 {
		return
	}
	found := false
	for _, k := range l.allowed.Kinds {
		if k.Kind == kind && (k.Group == nil || *k.Group == group) {
			found = true
			continue
		}
		l.resolved = verdict{string(gwv1.ListenerReasonInvalidRouteKinds), fmt.Sprintf("routes of the kind %.64q can't be attached to a listener with protocol %s: %s can", k.Kind, l.protocol, kind)}
	}
	if !found {
		l.kinds = []gwv1.RouteGroupKind{}
	}
}

// allows reports whether routes of a kind and namespace may be attached to l.
func (t *translator) allows(l *listener, kind, namespace string) bool {
	if !slices.ContainsFunc(l.kinds, func(k gwv1.RouteGroupKind) bool { return string(k.Kind) == kind }) {
		return false
	}
	from, selector := gwv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if l.allowed != nil && l.allowed.Namespaces != nil {
		selector = l.allowed.Namespaces.Selector
		if l.allowed.Namespaces.From != nil {
			from = *l.allowed.Namespaces.From
		}
	}
	return t.selects(from, selector, l.owner.GetNamespace(), namespace)
}

// selects reports whether an object of the namespace own lets in those of another namespace.
func (t *translator) selects(from gwv1.FromNamespaces, selector *metav1.LabelSelector, own, namespace string) bool {
	switch from {
	case gwv1.NamespacesFromAll:
		return true
	case gwv1.NamespacesFromSame:
		return own == namespace
	case gwv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		n := t.s.Namespace(namespace)
		return err == nil && n != nil && s.Matches(labels.Set(n.Labels))
	}
	return false
}
