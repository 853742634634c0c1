//go:build linux

// Package names is the DNS server of the laboratory. It knows the names of Services, as
// every cluster's does, and those that a test gives to addresses.
package names

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// Address is where the server listens.
const Address = "10.96.0.10:53"

// zone is the end of the names of Services.
const zone = ".svc.cluster.local."

// Server answers questions.
type Server struct {
	cancel   context.CancelFunc
	factory  informers.SharedInformerFactory
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	running  []*dns.Server
	wg       sync.WaitGroup

	mu    sync.Mutex // guards the following
	given map[string][]netip.Addr
}

// Start starts the server.
func Start(client kubernetes.Interface) (*Server, error) {
	s := &Server{given: map[string][]netip.Addr{}, factory: informers.NewSharedInformerFactory(client, 0)}
	s.services = s.factory.Core().V1().Services().Lister()
	s.slices = s.factory.Discovery().V1().EndpointSlices().Lister()
	packets, err := net.ListenPacket("udp", Address)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", Address)
	if err != nil {
		_ = packets.Close()
		return nil, err
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.factory.Start(ctx.Done())
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		started := make(chan struct{})
		server.Handler, server.NotifyStartedFunc = s, func() { close(started) }
		s.running = append(s.running, server)
		s.wg.Go(func() { _ = server.ActivateAndServe() }) // it ends with Stop
		<-started
	}
	return s, nil
}

// Stop ends the server.
func (s *Server) Stop() {
	for _, server := range s.running {
		_ = server.Shutdown()
	}
	s.cancel()
	s.factory.Shutdown()
	s.wg.Wait()
}

// Set gives a name to addresses; without addresses it is forgotten.
func (s *Server) Set(name string, addresses ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given[strings.ToLower(dns.Fqdn(name))] = addresses
}

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	answer := new(dns.Msg).SetReply(r)
	answer.Authoritative = true
	if len(r.Question) == 1 {
		q := r.Question[0]
		var exists bool
		answer.Answer, exists = s.records(q.Name, q.Qtype, 0)
		if !exists {
			answer.Rcode = dns.RcodeNameError
		}
	}
	_ = w.WriteMsg(answer) // who asks will ask again
}

// records returns the records of a name, and whether there is that name.
func (s *Server) records(name string, kind uint16, depth int) ([]dns.RR, bool) {
	key := strings.ToLower(name)
	s.mu.Lock()
	addresses := s.given[key]
	s.mu.Unlock()
	exists := len(addresses) > 0
	if rest, ok := strings.CutSuffix(key, zone); ok && !exists {
		service, namespace, _ := strings.Cut(rest, ".")
		found, err := s.services.Services(namespace).Get(service)
		if err != nil {
			return nil, false
		}
		if found.Spec.Type == corev1.ServiceTypeExternalName {
			target := dns.Fqdn(found.Spec.ExternalName)
			all := []dns.RR{&dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: target}}
			if depth < 8 && kind != dns.TypeCNAME {
				more, _ := s.records(target, kind, depth+1)
				all = append(all, more...)
			}
			return all, true
		}
		addresses, exists = s.addresses(found), true
	}
	var all []dns.RR
	for _, a := range addresses {
		switch {
		case kind == dns.TypeA && a.Is4():
			all = append(all, &dns.A{Hdr: header(name, kind), A: a.AsSlice()})
		case kind == dns.TypeAAAA && a.Is6():
			all = append(all, &dns.AAAA{Hdr: header(name, kind), AAAA: a.AsSlice()})
		}
	}
	return all, exists
}

// header begins a record. Answers hold for a second, as they do in clusters, about.
func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 1}
}

// addresses returns the addresses of a Service: those of its pods if it is headless.
func (s *Server) addresses(service *corev1.Service) (all []netip.Addr) {
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, a)
		}
	}
	if service.Spec.ClusterIP != corev1.ClusterIPNone {
		for _, text := range service.Spec.ClusterIPs {
			add(text)
		}
		return all
	}
	slices, err := s.slices.EndpointSlices(service.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name}))
	if err != nil {
		return nil
	}
	for _, slice := range slices {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready { // or the Service publishes all
				for _, text := range e.Addresses {
					add(text)
				}
			}
		}
	}
	return all
}
