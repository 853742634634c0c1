package gateway

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// tlsPolicies are the BackendTLSPolicies by what they are for.
type tlsPolicies struct {
	all       []*tlsPolicy // in the order of the snapshot
	byTarget  map[tlsTarget]*tlsPolicy
	byService map[types.NamespacedName][]*tlsPolicy
}

// tlsTarget is a Service, or one port of it.
type tlsTarget struct {
	service types.NamespacedName
	port    string // its name; "" is the whole Service
}

type tlsPolicy struct {
	object   *gwv1.BackendTLSPolicy
	tls      *config.PoolTLS // nil if the policy is invalid
	accepted verdict
	resolved verdict
	gateways []*gateway // that send requests to its Services
}

// of returns the policy for the port of a Service; nil if there is none.
func (p *tlsPolicies) of(service types.NamespacedName, port string) *tlsPolicy {
	if policy := p.byTarget[tlsTarget{service, port}]; policy != nil && port != "" {
		return policy
	}
	return p.byTarget[tlsTarget{service: service}]
}

// usedBy notes that a Gateway sends requests to a Service.
func (p *tlsPolicies) usedBy(g *gateway, service types.NamespacedName) {
	for _, policy := range p.byService[service] {
		policy.gateways = unique(policy.gateways, g)
	}
}

func (t *translator) readTLSPolicies() *tlsPolicies {
	p := &tlsPolicies{byTarget: map[tlsTarget]*tlsPolicy{}, byService: map[types.NamespacedName][]*tlsPolicy{}}
	for _, object := range t.s.BackendTLSPolicies {
		policy := &tlsPolicy{object: object}
		t.checkTLSPolicy(policy)
		p.all = append(p.all, policy)
	}
	oldest := slices.Clone(p.all)
	slices.SortFunc(oldest, func(a, b *tlsPolicy) int { return byAge(a.object, b.object) })
	for _, policy := range oldest {
		for _, ref := range policy.object.Spec.TargetRefs {
			if ref.Group != "" || ref.Kind != "Service" {
				policy.accepted = policy.accepted.orElse(verdict{string(gwv1.PolicyReasonTargetNotFound), fmt.Sprintf("the target is a %.64q: a Service is supported", ref.Kind)})
				continue
			}
			target := tlsTarget{types.NamespacedName{Namespace: policy.object.Namespace, Name: string(ref.Name)}, string(deref(ref.SectionName, ""))}
			p.byService[target.service] = append(p.byService[target.service], policy)
			if first := p.byTarget[target]; first != nil && first != policy {
				policy.accepted = verdict{string(gwv1.PolicyReasonConflicted), fmt.Sprintf("the older policy %.256q is for the same target", first.object.Name)}
				continue
			}
			p.byTarget[target] = policy
		}
	}
	return p
}

// checkTLSPolicy reads how the certificates of backends are verified.
func (t *translator) checkTLSPolicy(p *tlsPolicy) {
	v := &p.object.Spec.Validation
	tls := &config.PoolTLS{ServerName: string(v.Hostname)}
	for _, san := range v.SubjectAltNames {
		switch san.Type {
		case gwv1.HostnameSubjectAltNameType:
			tls.SANs = append(tls.SANs, string(san.Hostname))
		case gwv1.URISubjectAltNameType:
			tls.SANs = append(tls.SANs, string(san.URI))
		default:
			p.accepted = verdict{string(gwv1.PolicyReasonInvalid), fmt.Sprintf("the type %.64q of a subjectAltName is not supported", san.Type)}
			return
		}
	}
	if len(v.CACertificateRefs) == 0 {
		if deref(v.WellKnownCACertificates, "") != gwv1.WellKnownCACertificatesSystem {
			p.accepted = verdict{string(gwv1.PolicyReasonInvalid), "the policy has no caCertificateRefs, and wellKnownCACertificates is not System"}
			return
		}
		p.valid(tls)
		return
	}
	var bundle []byte
	for _, ref := range v.CACertificateRefs {
		if ref.Group != "" || ref.Kind != "ConfigMap" {
			p.resolved = verdict{string(gwv1.BackendTLSPolicyReasonInvalidKind), fmt.Sprintf("caCertificateRefs has a %.64q: certificates are in a ConfigMap", ref.Kind)}
			continue
		}
		text, err := t.caBundle(types.NamespacedName{Namespace: p.object.Namespace, Name: string(ref.Name)})
		if err != nil {
			p.resolved = verdict{string(gwv1.BackendTLSPolicyReasonInvalidCACertificateRef), plain(err)}
			continue
		}
		bundle = append(append(bundle, text...), '\n')
	}
	if bundle == nil {
		p.accepted = verdict{string(gwv1.BackendTLSPolicyReasonNoValidCACertificate), p.resolved.message}
		return
	}
	tls.CAData = &config.PEM{Name: "BackendTLSPolicy " + nameOf(p.object).String(), Cert: bundle}
	p.valid(tls)
}

// valid sets tls if the rules of the configuration accept it.
func (p *tlsPolicy) valid(tls *config.PoolTLS) {
	pool := config.NewPool("p")
	pool.Feed, pool.TLS = "a/a:1", tls
	c := config.Defaults()
	c.Listeners, c.Pools = []config.Listener{{Name: "a"}}, []config.Pool{pool}
	if err := c.Validate(); err != nil {
		p.accepted = verdict{string(gwv1.PolicyReasonInvalid), plain(err)}
		return
	}
	p.tls = tls
}

// maxAncestors is how many entries the API server takes in the status of a policy.
const maxAncestors = 16

// tlsPolicyStatuses adds the statuses of policies to the result, for the Gateways that use
// them.
func (t *translator) tlsPolicyStatuses() {
	for _, p := range t.policies.all {
		if len(p.object.Spec.Options) > 0 && len(p.gateways) > 0 {
			t.ignored(p.object, "the policy has options, of which none is supported")
		}
		status := p.object.DeepCopy()
		entry := func(g *gateway, old []metav1.Condition) gwv1.PolicyAncestorStatus {
			group, kind, namespace := gwv1.Group(gwv1.GroupName), gwv1.Kind("Gateway"), gwv1.Namespace(g.object.Namespace)
			return gwv1.PolicyAncestorStatus{
				AncestorRef:    gwv1.ParentReference{Group: &group, Kind: &kind, Namespace: &namespace, Name: gwv1.ObjectName(g.object.Name)},
				ControllerName: gwv1.GatewayController(t.o.ControllerName),
				Conditions: t.merge(old, p.object.Generation,
					condition(gwv1.PolicyConditionAccepted, p.accepted, gwv1.PolicyReasonAccepted, "the policy is used for connections to its Services"),
					condition(gwv1.BackendTLSPolicyConditionResolvedRefs, p.resolved, gwv1.BackendTLSPolicyReasonResolvedRefs, "all references are resolved")),
			}
		}
		rest := slices.Clone(p.gateways)
		slices.SortFunc(rest, func(a, b *gateway) int { return byAge(a.object, b.object) })
		list := make([]gwv1.PolicyAncestorStatus, 0, len(p.object.Status.Ancestors)+len(rest))
		for _, old := range p.object.Status.Ancestors {
			if string(old.ControllerName) != t.o.ControllerName {
				list = append(list, old)
				continue
			}
			if i := slices.IndexFunc(rest, func(g *gateway) bool {
				return g.object.Name == string(old.AncestorRef.Name) && g.object.Namespace == string(deref(old.AncestorRef.Namespace, gwv1.Namespace(p.object.Namespace)))
			}); i >= 0 {
				list = append(list, entry(rest[i], old.Conditions))
				rest = slices.Delete(rest, i, i+1)
			}
		}
		for _, g := range rest {
			list = append(list, entry(g, nil))
		}
		status.Status.Ancestors = list[:min(len(list), maxAncestors)]
		if len(list) > 0 || len(p.object.Status.Ancestors) > 0 {
			t.result.Statuses = append(t.result.Statuses, status)
		}
	}
}
