package scale

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

// Peer is another replica.
type Peer struct {
	Name    string // of its pod
	Address string // host:port
}

// Peers lists the other replicas by the EndpointSlices of the controller's own headless
// Service, sorted by name. Those that aren't ready or terminate have sessions, too.
func Peers(s *cluster.Snapshot, namespace, service, self string) []Peer {
	peers := map[string]Peer{}
	for _, slice := range s.EndpointSlicesOf(namespace, service) {
		if slice.AddressType == discoveryv1.AddressTypeFQDN || len(slice.Ports) == 0 || slice.Ports[0].Port == nil {
			continue
		}
		port := strconv.Itoa(int(*slice.Ports[0].Port))
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.Name == self || len(e.Addresses) == 0 {
				continue
			}
			p := Peer{Name: e.TargetRef.Name, Address: net.JoinHostPort(e.Addresses[0], port)}
			// Of several addresses of one pod, the same is taken each time.
			if before, ok := peers[p.Name]; !ok || p.Address < before.Address {
				peers[p.Name] = p
			}
		}
	}
	list := make([]Peer, 0, len(peers))
	for _, p := range peers {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
