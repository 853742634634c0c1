package gateway

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// The ports on which the balancer listens for Gateways. All Gateways share its pods, so that
// port 80 of each leads to another one of these.
const (
	firstTarget = 10000
	lastTarget  = 29999
)

// serviceName is the name of the Service of a Gateway: readable, and unique by its end.
func serviceName(gateway types.NamespacedName) string {
	const most = validation.DNS1035LabelMaxLength
	end := "-" + digest(gateway.String())[:10]
	name := []byte("gw-" + gateway.Namespace + "-" + gateway.Name)
	for i, c := range name {
		if c == '.' {
			name[i] = '-'
		}
	}
	return string(name[:min(len(name), most-len(end))]) + end
}

// allocate finds out on which port the balancer listens for each port of a Gateway, and adds
// the Services that lead there to the result. It is a port that the Service has already, or
// another one that none has; the listener is served as soon as the Service has it, so that
// all replicas agree.
func (t *translator) allocate() {
	taken := map[int32]bool{}
	for _, s := range t.s.Services {
		if s.Namespace == t.o.Namespace && s.Labels[translate.ManagedBy] == translate.ManagedByValue {
			for _, p := range s.Spec.Ports {
				taken[p.TargetPort.IntVal] = true
			}
		}
	}
	claimed, ports := map[int32]bool{}, map[string]int{} // the latter by namespace
	for _, g := range t.ordered {
		g.service = t.s.Service(t.o.Namespace, serviceName(g.name()))
		if g.service != nil && g.service.Annotations[translate.GatewayRef] != g.name().String() {
			g.service = nil // not ours
		}
		desired := t.serviceOf(g)
		if !g.rejected.ok() || len(g.ports) == 0 {
			if g.service == nil {
				continue
			}
			// A mistake in the Gateway must not cost the address of its load balancer.
			desired.Spec.Ports = slices.Clone(g.service.Spec.Ports)
			t.result.Services = append(t.result.Services, desired)
			continue
		}
		for _, p := range g.ports {
			if ports[g.object.Namespace]++; ports[g.object.Namespace] > maxPorts {
				continue
			}
			target := targetOf(g.service, p.number)
			if target < firstTarget || target > lastTarget || claimed[target] {
				target = free(g.name(), p.number, taken)
				taken[target] = true
			} else {
				p.target = target
			}
			if target == 0 {
				continue // all are taken
			}
			claimed[target] = true
			desired.Spec.Ports = append(desired.Spec.Ports, corev1.ServicePort{
				Name: "port-" + strconv.Itoa(int(p.number)), Protocol: corev1.ProtocolTCP,
				Port: p.number, TargetPort: intstr.FromInt32(target),
			})
		}
		if len(desired.Spec.Ports) > 0 {
			t.result.Services = append(t.result.Services, desired)
		}
	}
}

func targetOf(s *corev1.Service, port int32) int32 {
	if s != nil {
		for _, p := range s.Spec.Ports {
			if p.Port == port {
				return p.TargetPort.IntVal
			}
		}
	}
	return 0
}

// free is a port that isn't taken; 0 if all are. It is mostly the same for the same Gateway,
// even after its Service was deleted.
func free(gateway types.NamespacedName, port int32, taken map[int32]bool) int32 {
	const n = lastTarget - firstTarget + 1
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %d", gateway, port)
	start := h.Sum32() % n
	for i := range uint32(n) {
		if target := int32(firstTarget + (start+i)%n); !taken[target] {
			return target
		}
	}
	return 0
}

// serviceOf is the Service that g should have, without ports.
func (t *translator) serviceOf(g *gateway) *corev1.Service {
	policy := corev1.IPFamilyPolicyPreferDualStack
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: t.o.Namespace, Name: serviceName(g.name()),
			Labels: map[string]string{}, Annotations: map[string]string{},
		},
		Spec: corev1.ServiceSpec{Type: t.serviceType(), Selector: t.o.Selector, IPFamilyPolicy: &policy},
	}
	if s.Spec.Type != corev1.ServiceTypeClusterIP {
		// With Cluster, a node may pass connections on in its own name, and the addresses of
		// clients would be lost, by which policies admit them.
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if i := g.object.Spec.Infrastructure; i != nil {
		for k, v := range i.Labels {
			s.Labels[string(k)] = string(v)
		}
		for k, v := range i.Annotations {
			s.Annotations[string(k)] = string(v)
		}
	}
	s.Labels[translate.ManagedBy] = translate.ManagedByValue
	s.Labels[translate.GatewayNamespace] = g.object.Namespace
	delete(s.Labels, translate.GatewayName)
	delete(s.Labels, gwv1.GatewayNameLabelKey)
	if len(g.object.Name) <= validation.LabelValueMaxLength {
		s.Labels[translate.GatewayName] = g.object.Name
		s.Labels[gwv1.GatewayNameLabelKey] = g.object.Name
	}
	s.Annotations[translate.GatewayRef] = g.name().String()
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, a := range requested(g.object) {
			s.Spec.LoadBalancerIP = a // a Service takes one
			break
		}
	}
	return s
}

func (t *translator) serviceType() corev1.ServiceType {
	if t.o.ServiceType == "" {
		return corev1.ServiceTypeLoadBalancer
	}
	return t.o.ServiceType
}

// checkAddresses refuses addresses of a type that no Service has.
func checkAddresses(g *gwv1.Gateway) verdict {
	for _, a := range g.Spec.Addresses {
		if kind := deref(a.Type, gwv1.IPAddressType); kind != gwv1.IPAddressType {
			return verdict{string(gwv1.GatewayReasonUnsupportedAddress), fmt.Sprintf("addresses of the type %.64q are not supported: %s is", kind, gwv1.IPAddressType)}
		}
		if _, err := netip.ParseAddr(a.Value); a.Value != "" && err != nil {
			return verdict{string(gwv1.GatewayReasonUnsupportedAddress), fmt.Sprintf("%.64q is not an IP address", a.Value)}
		}
	}
	return verdict{}
}

// requested lists the addresses that a Gateway asks for.
func requested(g *gwv1.Gateway) (all []string) {
	for _, a := range g.Spec.Addresses {
		if ip, err := netip.ParseAddr(a.Value); err == nil {
			all = append(all, ip.String())
		}
	}
	return all
}

// addresses are those under which clients reach g: of its load balancer, or in the cluster.
// The verdict says why it has not those that it should.
func (t *translator) addresses(g *gateway) (all []gwv1.GatewayStatusAddress, v verdict) {
	add := func(kind gwv1.AddressType, value string) {
		all = append(all, gwv1.GatewayStatusAddress{Type: &kind, Value: value})
	}
	switch s := g.service; {
	case s == nil:
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		for _, i := range s.Status.LoadBalancer.Ingress {
			if i.IP != "" {
				add(gwv1.IPAddressType, i.IP)
			} else if i.Hostname != "" {
				add(gwv1.HostnameAddressType, i.Hostname)
			}
		}
	default:
		for _, ip := range s.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				add(gwv1.IPAddressType, ip)
			}
		}
		if len(all) == 0 && s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
			add(gwv1.IPAddressType, s.Spec.ClusterIP)
		}
	}
	asked := requested(g.object)
	for _, ip := range asked {
		if !slices.ContainsFunc(all, func(a gwv1.GatewayStatusAddress) bool { return a.Value == ip }) {
			v = v.orElse(verdict{string(gwv1.GatewayReasonAddressNotUsable), fmt.Sprintf("the Service %s doesn't have the address %.64q", serviceName(g.name()), ip)})
		}
	}
	if len(all) == 0 {
		v = v.orElse(verdict{string(gwv1.GatewayReasonAddressNotAssigned), fmt.Sprintf("the Service %s has no address yet", serviceName(g.name()))})
	}
	if len(asked) > 0 {
		all = slices.DeleteFunc(all, func(a gwv1.GatewayStatusAddress) bool { return !slices.Contains(asked, a.Value) })
	}
	return all[:min(len(all), maxAddresses)], v
}

// maxAddresses is how many the API server takes in the status of a Gateway.
const maxAddresses = 16
