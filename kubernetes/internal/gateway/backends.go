package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// backend is a backendRef.
type backend struct {
	service types.NamespacedName
	port    int32
	weight  int
	wrong   verdict // why it can't be used
	tls     *config.PoolTLS
	edits   edits // of its own

	// What is passed on from TLS that has ended here is encrypted again by secure, if there
	// is a BackendTLSPolicy.
	secure      *config.PoolTLS
	secureWrong verdict
}

// afterTLS lists backends for what was in TLS.
func afterTLS(backends []backend) []backend {
	all := slices.Clone(backends)
	for i := range all {
		b := &all[i]
		b.tls, b.wrong = b.secure, b.wrong.orElse(b.secureWrong)
	}
	return all
}

// reasonInvalidBackendTLSPolicy is why a backendRef can't be used whose BackendTLSPolicy is
// invalid: there is none in the Gateway API.
const reasonInvalidBackendTLSPolicy = "InvalidBackendTLSPolicy"

// backend resolves a backendRef of a route.
func (t *translator) backend(kind, namespace string, ref gwv1.BackendRef) backend {
	b := backend{weight: int(deref(ref.Weight, 1))}
	b.service = types.NamespacedName{Namespace: string(deref(ref.Namespace, gwv1.Namespace(namespace))), Name: string(ref.Name)}
	if deref(ref.Group, "") != "" || deref(ref.Kind, "Service") != "Service" {
		b.wrong = verdict{string(gwv1.RouteReasonInvalidKind), fmt.Sprintf("the backend %.256q is of the kind %.64q: a backend is a Service", ref.Name, deref(ref.Kind, ""))}
		return b
	}
	if !t.grants.permit(kind, namespace, "Service", b.service) {
		b.wrong = verdict{string(gwv1.RouteReasonRefNotPermitted), fmt.Sprintf("no ReferenceGrant in the namespace %.64q allows the reference to the Service %.256q", b.service.Namespace, b.service.Name)}
		return b
	}
	service := t.s.Service(b.service.Namespace, b.service.Name)
	if service == nil {
		b.wrong = verdict{string(gwv1.RouteReasonBackendNotFound), fmt.Sprintf("there is no Service %.320q", b.service)}
		return b
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		// CVE-2021-25740: its name could lead past all that protects other namespaces.
		b.wrong = verdict{string(gwv1.RouteReasonBackendNotFound), fmt.Sprintf("the Service %.320q has the type ExternalName, which is not supported here", b.service)}
		return b
	}
	b.port = deref(ref.Port, 0)
	port := portOf(service, b.port)
	if port == nil {
		b.wrong = verdict{string(gwv1.RouteReasonBackendNotFound), fmt.Sprintf("the Service %.320q has no port %d", b.service, b.port)}
		return b
	}
	t.protocol(kind, &b, port)
	return b
}

// invalid is why a backend can't be used whose policy p is.
func (p *tlsPolicy) invalid(service types.NamespacedName) verdict {
	return verdict{reasonInvalidBackendTLSPolicy, fmt.Sprintf("the BackendTLSPolicy %s of the Service %.320q is invalid, see its status", p.object.Name, service)}
}

func portOf(service *corev1.Service, number int32) *corev1.ServicePort {
	for i := range service.Spec.Ports {
		if p := &service.Spec.Ports[i]; p.Port == number && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) {
			return p
		}
	}
	return nil
}

// protocol finds out what is spoken to a backend: by its BackendTLSPolicy, or else by the
// appProtocol of its port (KEP-3726).
func (t *translator) protocol(kind string, b *backend, port *corev1.ServicePort) {
	if kind != "HTTPRoute" { // bytes are passed on as they are
		if p := t.policies.of(b.service, port.Name); p != nil {
			if b.secure = p.tls; p.tls == nil {
				b.secureWrong = p.invalid(b.service)
			}
		}
		return
	}
	switch app := strings.ToLower(deref(port.AppProtocol, "")); app {
	case "kubernetes.io/h2c", "grpc", "h2c":
		b.wrong = verdict{string(gwv1.RouteReasonUnsupportedProtocol), fmt.Sprintf("the Service %.320q has the appProtocol %q for port %d, which is not supported: backends are asked by HTTP/1.1", b.service, app, b.port)}
		return
	case "kubernetes.io/wss", "https", "wss":
		// Without a policy, the certificate must be one that the system trusts, with the
		// name by which the Service is found in the cluster.
		b.tls = &config.PoolTLS{ServerName: b.service.Name + "." + b.service.Namespace + ".svc"}
	}
	if p := t.policies.of(b.service, port.Name); p != nil {
		b.tls = p.tls
		if p.tls == nil {
			b.wrong = p.invalid(b.service)
			b.tls = new(config.PoolTLS) // nothing is sent there
		}
	}
}

// keepPools adds the pools of all attached routes to the result, also of those that can't be
// served just now: a Secret that is missing for a moment, or a mistake in a filter, must not
// end the sessions that are open. A pool without a route gets no new ones.
func (t *translator) keepPools(g *gateway) {
	done := map[*rule]bool{}
	for _, l := range g.listeners {
		for _, r := range l.kept {
			if done[r] {
				continue
			}
			done[r] = true
			t.targets(g, r)
			for i := range r.backends {
				if b := &r.backends[i]; b.wrong.reason == reasonInvalidBackendTLSPolicy {
					t.pool(b, r.variant(g), r.owner())
				}
			}
		}
		for _, s := range l.streams {
			for i := range s.backends {
				if b := &s.backends[i]; b.wrong.ok() {
					t.pool(b, variant{cert: g.clientCert}, translate.Owner{Object: s.route, RuleName: s.name})
				}
			}
		}
	}
}

// variant is what makes a pool of a Service's port a pool of its own.
type variant struct {
	cert     *clientCert
	affinity *config.Cookie
	retryOn  []config.StatusRange
	name     string // if affinity or retryOn is set, or there are two in one split
}

// pool returns the name of the pool for a backend, and adds it to the result.
func (t *translator) pool(b *backend, v variant, owner translate.Owner) string {
	feed := translate.Feed(b.service.Namespace, b.service.Name, b.port)
	name := feed
	pool := config.NewPool("")
	pool.Feed = feed
	if b.tls != nil {
		name += "/tls"
		tls := *b.tls
		if v.cert != nil {
			name += "/" + v.cert.gateway.String()
			tls.CertData = v.cert.pem
		}
		pool.TLS = &tls
	}
	if v.name != "" {
		name += "/" + v.name
	}
	if name = shorten(name); t.pools[name] {
		return name
	}
	pool.Name = name
	pool.RetryOn = v.retryOn
	if v.affinity != nil {
		cookie := *v.affinity
		if t.o.CookieSecret != "" {
			cookie.Secret = digest(t.o.CookieSecret + "\x00" + name)
		}
		pool.Affinity.Cookie = &cookie
	}
	t.addPool(translate.Pool{Pool: pool, Service: b.service, Owner: owner})
	return name
}

func (t *translator) addPool(p translate.Pool) {
	if !t.pools[p.Name] {
		t.pools[p.Name] = true
		t.result.Pools = append(t.result.Pools, p)
	}
}

// refuse is the pool of connections that lead nowhere. It never has a backend, since no
// Service has a port 0.
func (t *translator) refuse() string {
	pool := config.NewPool("gateway/refused")
	pool.Feed = translate.Feed("gateway", "refused", 0)
	t.addPool(translate.Pool{Pool: pool})
	return pool.Name
}

// shorten makes a name one that config.CheckName accepts, and keeps it unique.
func shorten(name string) string {
	const most = 250
	if len(name) <= most {
		return name
	}
	return name[:most-17] + "~" + digest(name)[:16]
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
