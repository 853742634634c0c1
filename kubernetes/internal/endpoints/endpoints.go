// Package endpoints makes lists of backends from Services, EndpointSlices and Pods. It is
// a pure function over a cluster.Snapshot; the program calls it for each feed after each
// change.
//
// Clients go straight to the addresses of Pods: kube-proxy and a Service's cluster IP
// aren't in between. Hints of zones (trafficDistribution, topology-mode) are ignored: a
// session lasts longer than what they are made from.
package endpoints

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Options are what an operator can choose.
type Options struct {
	// ExternalNames lets Services of type ExternalName have backends. Whoever may make
	// a Service can then have the balancer connect to any name, also to one that leads
	// to itself or into networks that only it reaches (CVE-2021-32783 of another
	// controller).
	ExternalNames bool
}

// Members returns the backends of a feed, sorted by name. It is empty if there is no such
// Service or port.
//
// A Pod is one member however many slices it is in: slices may overlap while they are
// updated, and those of IPv4 and IPv6 have each Pod once. A member's name is that of its
// Pod; without a Pod it is its address.
func Members(s *cluster.Snapshot, feed string, o Options) []discovery.Member {
	name, number, ok := translate.ParseFeed(feed)
	if !ok {
		return nil
	}
	service := s.Service(name.Namespace, name.Name)
	if service == nil {
		return nil
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return externalName(service.Spec.ExternalName, number, o)
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == number && isTCP(&p.Protocol) })
	if i < 0 {
		return nil
	}
	c := collection{snapshot: s, namespace: name.Namespace, found: map[string][]candidate{}}
	for _, slice := range s.EndpointSlicesOf(name.Namespace, name.Name) {
		port := portOf(slice, &service.Spec.Ports[i])
		if port == 0 || slice.AddressType == discoveryv1.AddressTypeFQDN && !o.ExternalNames {
			continue
		}
		for j := range slice.Endpoints {
			c.add(slice, &slice.Endpoints[j], port, preference(service, slice.AddressType))
		}
	}
	return c.members()
}

func externalName(host string, port int32, o Options) []discovery.Member {
	host = strings.TrimSuffix(host, ".")
	address, err := hostport.Parse(host + ":" + strconv.Itoa(int(port)))
	if !o.ExternalNames || err != nil {
		return nil
	}
	return []discovery.Member{{Name: address.String(), Address: address.String(), Weight: 1}}
}

func isTCP(p *corev1.Protocol) bool { return p == nil || *p == "" || *p == corev1.ProtocolTCP }

// portOf returns the port of a slice's endpoints for a Service's port; 0 if they have
// none. The names of both are equal, and each slice may have another number, as a named
// target port can be different in each Pod.
func portOf(slice *discoveryv1.EndpointSlice, port *corev1.ServicePort) int32 {
	for _, p := range slice.Ports {
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if name != port.Name || !isTCP(p.Protocol) {
			continue
		}
		if p.Port == nil {
			return 0 // "all ports", which no Service has
		}
		return *p.Port
	}
	return 0
}

// preference is lower for the addresses that are preferred: the Service's first family is
// what its owner chose for it.
func preference(service *corev1.Service, t discoveryv1.AddressType) int {
	family := corev1.IPFamily(t)
	if i := slices.Index(service.Spec.IPFamilies, family); i >= 0 {
		return i
	}
	return len(service.Spec.IPFamilies) + strings.Count(string(family), "6") // IPv4 first
}

// candidate is an endpoint that may become a member.
type candidate struct {
	member discovery.Member
	// current says that the endpoint's Pod is the one that exists under its name.
	current bool
	prefer  int
}

// better orders candidates for one Pod or one address. It depends on nothing but the two,
// so that the order of slices makes no difference.
func better(a, b candidate) int {
	current := func(c candidate) int {
		if c.current {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(current(a), current(b)),
		cmp.Compare(a.prefer, b.prefer),
		cmp.Compare(a.member.State, b.member.State),
		cmp.Compare(a.member.Name, b.member.Name),
		cmp.Compare(a.member.Address, b.member.Address),
		a.member.Deadline.Compare(b.member.Deadline),
	)
}

type collection struct {
	snapshot  *cluster.Snapshot
	namespace string
	found     map[string][]candidate // by name of the member
}

func (c *collection) add(slice *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint, port int32, prefer int) {
	if len(e.Addresses) == 0 {
		return
	}
	// The others of a list have no meaning (KEP-752).
	address, ok := addressOf(slice.AddressType, e.Addresses[0], port)
	if !ok {
		return
	}
	one := candidate{member: discovery.Member{Name: address, Address: address, Weight: 1, State: stateOf(e.Conditions)}, prefer: prefer}
	// The API server doesn't check the names of targets, and whoever may write slices
	// could put anything there.
	if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" && len(validation.IsDNS1123Subdomain(ref.Name)) == 0 && cmp.Or(ref.Namespace, c.namespace) == c.namespace {
		one.member.Name = ref.Name
		if pod := c.snapshot.Pod(c.namespace, ref.Name); pod != nil && (ref.UID == "" || ref.UID == pod.UID) {
			one.current = true
			// A Pod that is deleted is terminating, whether or not its slice says so
			// yet. The API server has added the grace period: this is when the Pod is
			// killed at the latest.
			if pod.DeletionTimestamp != nil {
				one.member.State = discovery.Terminating
				one.member.Deadline = pod.DeletionTimestamp.UTC().Truncate(time.Second)
			}
		}
	}
	c.found[one.member.Name] = append(c.found[one.member.Name], one)
}

// merge returns what the endpoints of one name come to: the best one. If some are out of
// date, that the Pod terminates is never taken back, and of ready and unready, ready is
// believed, as kube-proxy does.
func merge(all []candidate) candidate {
	best := slices.MinFunc(all, better)
	for _, one := range all {
		// One that isn't current is of a Pod that had the name before.
		if one.member.State == discovery.Terminating && one.current == best.current {
			best.member.State = discovery.Terminating
		}
	}
	return best
}

// stateOf reads the conditions. Nil ready means ready. publishNotReadyAddresses makes
// Pods ready that terminate, which are drained all the same: they are about to be killed.
func stateOf(c discoveryv1.EndpointConditions) discovery.MemberState {
	switch {
	case c.Terminating != nil && *c.Terminating:
		return discovery.Terminating
	case c.Ready != nil && !*c.Ready:
		return discovery.Unready
	}
	return discovery.Ready
}

// addressOf returns an address in its normal form, and whether it may be used. The API
// server refuses the ones that are left out here; a backend must never be the balancer
// itself or the node's metadata service.
func addressOf(t discoveryv1.AddressType, text string, port int32) (string, bool) {
	if port < 1 || port > 65535 {
		return "", false
	}
	if t == discoveryv1.AddressTypeFQDN {
		address, err := hostport.Parse(strings.TrimSuffix(text, ".") + ":" + strconv.Itoa(int(port)))
		return address.String(), err == nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return "", false
	}
	ip = ip.Unmap()
	if ip.IsUnspecified() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() ||
		slices.ContainsFunc(never, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return "", false
	}
	return netip.AddrPortFrom(ip, uint16(port)).String(), true
}

// never has addresses of clouds' metadata services that aren't link-local, and those of
// IPv6 that stand for some of IPv4 (RFC 4291 section 2.5.5.1, RFC 6052).
var never = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::254/128"), netip.MustParsePrefix("fd20:ce::254/128"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"),
}

// maxMembers bounds a list, as that of a file (discovery.ReadFile).
const maxMembers = 10_000

// members returns the list. Of two Pods with one address, one has ended and the other has
// got its address.
func (c *collection) members() []discovery.Member {
	byAddress := map[string]candidate{}
	for all := range maps.Values(c.found) {
		one := merge(all)
		if before, ok := byAddress[one.member.Address]; !ok || better(one, before) < 0 {
			byAddress[one.member.Address] = one
		}
	}
	members := make([]discovery.Member, 0, len(byAddress))
	for one := range maps.Values(byAddress) {
		members = append(members, one.member)
	}
	slices.SortFunc(members, func(a, b discovery.Member) int { return cmp.Compare(a.Name, b.Name) })
	return members[:min(len(members), maxMembers)]
}
