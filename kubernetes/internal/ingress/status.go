package ingress

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// statuses has all our Ingresses with the addresses at which clients reach them. While the
// addresses aren't known, nothing is written, so that a restart changes no status.
func (v *translator) statuses() {
	addresses := v.addresses()
	if addresses == nil {
		return
	}
	for _, s := range v.sources {
		i := s.object.DeepCopy()
		i.Status = networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: addresses}}
		v.result.Statuses = append(v.result.Statuses, i)
	}
}

func (v *translator) addresses() (list []networkingv1.IngressLoadBalancerIngress) {
	for _, a := range v.options.PublishAddresses {
		list = append(list, address(a))
	}
	s := v.snapshot.Service(v.options.PublishService.Namespace, v.options.PublishService.Name)
	if list != nil || s == nil {
		return list
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return append(list, address(s.Spec.ExternalName))
	case corev1.ServiceTypeLoadBalancer:
		for _, i := range s.Status.LoadBalancer.Ingress {
			to := networkingv1.IngressLoadBalancerIngress{IP: i.IP, Hostname: i.Hostname}
			for _, p := range i.Ports {
				to.Ports = append(to.Ports, networkingv1.IngressPortStatus{Port: p.Port, Protocol: p.Protocol, Error: p.Error})
			}
			list = append(list, to)
		}
	}
	for _, ip := range s.Spec.ExternalIPs {
		list = append(list, address(ip))
	}
	if list == nil && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		for _, ip := range s.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				list = append(list, address(ip))
			}
		}
	}
	return list
}

func address(s string) networkingv1.IngressLoadBalancerIngress {
	if _, err := netip.ParseAddr(s); err == nil {
		return networkingv1.IngressLoadBalancerIngress{IP: s}
	}
	return networkingv1.IngressLoadBalancerIngress{Hostname: s}
}
