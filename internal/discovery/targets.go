package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	hostsAtOnce = 16 // that are asked for at the same time
	hostsNamed  = 3  // in a message
)

// located is what was found of the target of SRV records.
type located struct {
	ips []netip.Addr // sorted and unique, of one family; none with err
	ttl time.Duration
	err error
}

// lostHost is a target whose addresses weren't found.
type lostHost struct {
	host   string
	reason error
	kept   bool // its last known addresses are used
}

// locate puts addresses into the members of SRV records: those that came with
// the records, else the same servers are asked, since nobody else need know the
// names of a private zone. A host that isn't found keeps the addresses it had
// in the last good list; one that had none is left out. It fails if nobody is
// left.
func (d *dnsFollower) locate(ctx context.Context, servers []string, a answer) (answer, []lostHost, error) {
	last := lastIPs(d.feed.last())
	found := d.find(ctx, servers, a, last)
	var lost []lostHost
	for _, host := range slices.Sorted(maps.Keys(found)) {
		h := found[host]
		if h.err == nil {
			a.ttl = min(a.ttl, h.ttl)
			continue
		}
		h.ips = last[host]
		lost = append(lost, lostHost{host, h.err, len(h.ips) > 0})
	}
	var members []Member
	for _, m := range a.members {
		host, port, _ := net.SplitHostPort(m.Address)
		members = append(members, m.at(found[host].ips, port)...)
	}
	if len(members) == 0 {
		return answer{}, nil, errors.New(trouble(lost))
	}
	a.members = uniqueAddresses(unique(members))
	return a, lost, nil
}

// at returns one member for each address. Only where there are several does the
// name tell them apart: else it stays when the address changes, and with it
// what goes by names, such as hash.
func (m Member) at(ips []netip.Addr, port string) (members []Member) {
	for _, ip := range ips {
		one := m
		one.Address = net.JoinHostPort(ip.String(), port)
		if len(ips) > 1 {
			one.Name += "@" + ip.String()
		}
		members = append(members, one)
	}
	return members
}

// uniqueAddresses leaves out members that have the address of one before them:
// two names of one host.
func uniqueAddresses(members []Member) []Member {
	seen := map[string]bool{}
	return slices.DeleteFunc(members, func(m Member) bool {
		again := seen[m.Address]
		seen[m.Address] = true
		return again
	})
}

// lastIPs are the addresses that hosts have in a list of located members.
func lastIPs(members []Member) map[string][]netip.Addr {
	last := map[string][]netip.Addr{}
	for _, m := range members {
		target, _, _ := strings.Cut(m.Name, "@")
		host, _, err := net.SplitHostPort(target)
		at, bad := netip.ParseAddrPort(m.Address)
		if err == nil && bad == nil && !slices.Contains(last[host], at.Addr()) {
			last[host] = append(last[host], at.Addr())
		}
	}
	return last
}

// find looks for all hosts, by name.
func (d *dnsFollower) find(ctx context.Context, servers []string, a answer, last map[string][]netip.Addr) map[string]*located {
	found := map[string]*located{}
	var all sync.WaitGroup
	places := make(chan struct{}, hostsAtOnce)
	for _, m := range a.members {
		host, _, _ := net.SplitHostPort(m.Address)
		if found[host] != nil {
			continue
		}
		h := &located{}
		found[host] = h
		places <- struct{}{}
		all.Go(func() {
			*h = d.findHost(ctx, servers, host, a.extra, last[host])
			<-places
		})
	}
	all.Wait()
	return found
}

// findHost prefers IPv4, and takes IPv6 only where there is none: a host with
// both is one backend. For the same reason, one that was found by IPv4 isn't
// taken by IPv6 only because the question for IPv4 fails; and a section of
// additional records that has IPv6 only proves nothing, since servers put into
// it what they have at hand.
func (d *dnsFollower) findHost(ctx context.Context, servers []string, host string, extra []dns.RR, last []netip.Addr) located {
	if ip, err := netip.ParseAddr(host); err == nil { // no name at all, but clear
		return located{ips: []netip.Addr{ip}, ttl: 1 << 31 * time.Second}
	}
	var failure error
	var none []string
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		h := d.findFamily(ctx, servers, dns.Fqdn(host), t, extra)
		if h.err == nil {
			return h
		}
		if firm, ok := errors.AsType[noRecords](h.err); ok {
			none = append(none, string(firm))
			continue
		}
		if failure == nil {
			failure = h.err
		}
		if slices.ContainsFunc(last, netip.Addr.Is4) {
			break
		}
	}
	if failure == nil {
		failure = errors.New(strings.Join(slices.Compact(none), ", "))
	}
	return located{err: failure}
}

// findFamily looks for addresses of one type, first among additional records.
func (d *dnsFollower) findFamily(ctx context.Context, servers []string, name string, t uint16, extra []dns.RR) located {
	records, ttl := relevant(extra, name, t)
	ips, _ := hostIPs(records)
	if len(ips) == 0 {
		a, err := d.askType(ctx, servers, name, t)
		if err != nil {
			return located{err: err}
		}
		ttl = a.ttl
		for _, m := range a.members {
			ips = append(ips, netip.MustParseAddrPort(m.Address).Addr())
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return located{ips: slices.Compact(ips), ttl: ttl}
}

// trouble says which targets weren't found, and why.
func trouble(lost []lostHost) string {
	var list []string
	for _, h := range lost[:min(len(lost), hostsNamed)] {
		outcome := "is not found"
		if h.kept {
			outcome = "keeps its last addresses"
		}
		list = append(list, fmt.Sprintf("target %s %s: %v", h.host, outcome, h.reason))
	}
	if more := len(lost) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("%d more of the targets", more))
	}
	return strings.Join(list, "; ")
}

// news tells whether one of lost wasn't told of since all was well, and takes
// all of them as told.
func (d *dnsFollower) news(lost []lostHost) (fresh bool) {
	if d.told == nil {
		d.told = map[string]bool{}
	}
	for _, h := range lost {
		fresh = fresh || !d.told[h.host]
		d.told[h.host] = true
	}
	return fresh
}
