//go:build linux

// Package services is what tests have in the place of kube-proxy and of a cloud. It
// forwards TCP connections to the addresses of Services to their pods, and gives Services
// of the type LoadBalancer an address.
//
// As clouds do, it leaves connections alone whose pod is no longer ready. Unlike with
// kube-proxy, a pod sees all connections come from the laboratory.
package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/holdfast-ws/holdfast/kubernetes/lab/podnet"
)

// ProxyProtocol is an annotation of Services of the type LoadBalancer. With the value v2,
// each connection begins with the address of the client in the PROXY protocol.
const ProxyProtocol = "lab/proxy-protocol"

// Services forwards connections to Services.
type Services struct {
	client kubernetes.Interface
	logf   func(format string, args ...any)
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	factory informers.SharedInformerFactory
	all     corelisters.ServiceLister
	slices  discoverylisters.EndpointSliceLister
	changed chan struct{}

	// Of the goroutine of run.
	forwarders map[netip.AddrPort]*forwarder
	given      map[types.UID]netip.Addr // addresses of load balancers
	last       netip.Addr
}

// Start begins to forward. logf is for what goes wrong.
func Start(client kubernetes.Interface, logf func(format string, args ...any)) (*Services, error) {
	s := &Services{
		client: client, logf: logf, changed: make(chan struct{}, 1),
		forwarders: map[netip.AddrPort]*forwarder{}, given: map[types.UID]netip.Addr{},
		last: netip.MustParsePrefix(podnet.LoadBalancers).Addr(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.factory = informers.NewSharedInformerFactory(client, 0)
	s.all = s.factory.Core().V1().Services().Lister()
	s.slices = s.factory.Discovery().V1().EndpointSlices().Lister()
	touch := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.touch() }, UpdateFunc: func(_, _ any) { s.touch() }, DeleteFunc: func(any) { s.touch() },
	}
	_, err := s.factory.Core().V1().Services().Informer().AddEventHandler(touch)
	if err == nil {
		_, err = s.factory.Discovery().V1().EndpointSlices().Informer().AddEventHandler(touch)
	}
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.factory.Start(s.ctx.Done())
	s.wg.Go(s.run)
	return s, nil
}

// Stop closes all listeners and connections.
func (s *Services) Stop() {
	s.cancel()
	s.factory.Shutdown()
	s.wg.Wait()
}

// touch asks for another look at all Services.
func (s *Services) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// run keeps the forwarders as the Services say.
func (s *Services) run() {
	defer func() {
		for _, f := range s.forwarders {
			f.stop()
		}
	}()
	for _, ok := range s.factory.WaitForCacheSync(s.ctx.Done()) {
		if !ok {
			return
		}
	}
	for {
		if err := s.sync(); err != nil && s.ctx.Err() == nil {
			s.logf("services: %v", err)
			time.AfterFunc(time.Second, s.touch)
		}
		select {
		case <-s.changed:
		case <-s.ctx.Done():
			return
		}
	}
}

// want is what a forwarder is to do.
type want struct {
	backends []string
	proxy    bool // send the client's address
}

// sync compares the forwarders with the Services.
func (s *Services) sync() error {
	services, err := s.all.List(labels.Everything())
	if err != nil {
		return err
	}
	wanted := map[netip.AddrPort]want{}
	exists := map[types.UID]bool{}
	var failed error
	for _, service := range services {
		exists[service.UID] = true
		var own []netip.Addr
		for _, text := range service.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(text); err == nil { // not None
				own = append(own, a)
			}
		}
		cloud := service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.DeletionTimestamp == nil
		if cloud {
			address, err := s.give(service)
			failed = errors.Join(failed, err)
			if err == nil {
				own = append(own, address)
			}
		}
		for _, address := range own {
			for _, port := range service.Spec.Ports {
				if port.Protocol != corev1.ProtocolTCP {
					continue
				}
				backends, err := s.backends(service, address, port)
				failed = errors.Join(failed, err)
				proxy := cloud && address == s.given[service.UID] && service.Annotations[ProxyProtocol] == "v2"
				wanted[netip.AddrPortFrom(address, uint16(port.Port))] = want{backends, proxy}
			}
		}
	}
	for uid := range s.given {
		if !exists[uid] {
			delete(s.given, uid)
		}
	}
	for at, f := range s.forwarders {
		if _, ok := wanted[at]; !ok {
			f.stop()
			delete(s.forwarders, at)
		}
	}
	for at, w := range wanted {
		if s.forwarders[at] == nil {
			f, err := forward(at)
			if err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			s.forwarders[at] = f
		}
		s.forwarders[at].set(w)
	}
	return failed
}

// give returns the address of a load balancer, and writes it to the Service's status.
func (s *Services) give(service *corev1.Service) (netip.Addr, error) {
	address, known := s.given[service.UID]
	if !known {
		var err error
		if address, err = s.choose(service); err != nil {
			return netip.Addr{}, err
		}
		s.given[service.UID] = address
	}
	mode := corev1.LoadBalancerIPModeVIP
	if service.Annotations[ProxyProtocol] != "" {
		mode = corev1.LoadBalancerIPModeProxy
	}
	status := service.Status.LoadBalancer.Ingress
	if len(status) == 1 && status[0].IP == address.String() && status[0].IPMode != nil && *status[0].IPMode == mode {
		return address, nil
	}
	text, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": corev1.LoadBalancerStatus{
		Ingress: []corev1.LoadBalancerIngress{{IP: address.String(), IPMode: &mode}},
	}}})
	if err != nil {
		return netip.Addr{}, err
	}
	_, err = s.client.CoreV1().Services(service.Namespace).Patch(s.ctx, service.Name, types.MergePatchType, text, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return address, err
}

// choose returns an address that no load balancer has: the one that the Service asks
// for, or the next.
func (s *Services) choose(service *corev1.Service) (netip.Addr, error) {
	taken := map[netip.Addr]bool{}
	for _, a := range s.given {
		taken[a] = true
	}
	all := netip.MustParsePrefix(podnet.LoadBalancers)
	if text := service.Spec.LoadBalancerIP; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || !all.Contains(a) || taken[a] {
			return netip.Addr{}, fmt.Errorf("%s/%s can't have the address %q: it isn't in %s, or is in use", service.Namespace, service.Name, text, all)
		}
		return a, nil
	}
	for range 1 << 16 {
		s.last = s.last.Next()
		if !all.Contains(s.last) {
			s.last = all.Addr().Next()
		}
		if !taken[s.last] {
			return s.last, nil
		}
	}
	return netip.Addr{}, errors.New("all addresses for load balancers are in use")
}

// backends returns the addresses of a Service's pods that are ready, or those that are
// about to end and still serve, if none is ready, as kube-proxy does (KEP 1669).
func (s *Services) backends(service *corev1.Service, address netip.Addr, port corev1.ServicePort) ([]string, error) {
	of := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name})
	found, err := s.slices.EndpointSlices(service.Namespace).List(of)
	if err != nil {
		return nil, err
	}
	family := discoveryv1.AddressTypeIPv4
	if address.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	var ready, ending []string
	for _, slice := range found {
		if slice.AddressType != family {
			continue
		}
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != port.Name || p.Name == nil && port.Name != "" {
				continue
			}
			for _, e := range slice.Endpoints {
				is := func(condition *bool, or bool) bool {
					if condition == nil {
						return or
					}
					return *condition
				}
				for _, a := range e.Addresses {
					ip, err := netip.ParseAddr(a)
					if err != nil {
						continue
					}
					to := netip.AddrPortFrom(ip, uint16(*p.Port)).String()
					switch {
					case is(e.Conditions.Ready, true):
						ready = append(ready, to)
					case is(e.Conditions.Serving, false) && is(e.Conditions.Terminating, false):
						ending = append(ending, to)
					}
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.Sort(ready)
	return slices.Compact(ready), nil
}
