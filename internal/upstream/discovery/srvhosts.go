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
	hostsAtOnce = 16 // queried at the same time
	hostsNamed  = 3  // in a message
)

// hostResult is the result for one target of SRV records.
type hostResult struct {
	ips []netip.Addr // sorted and unique, of one family; empty with err
	ttl time.Duration
	err error
}

// unresolvedHost is a target whose addresses weren't found.
type unresolvedHost struct {
	host      string
	reason    error
	keepsLast bool // its last addresses stay in use
}

// resolveHosts sets the addresses of the members of SRV records. It uses those that
// came with the records, or else asks the same servers, since other servers may not
// know the names of a private zone. A target that isn't found keeps its addresses from
// the last good list, and is left out if it had none. It is an error if no member is
// left.
func (d *dnsWatch) resolveHosts(ctx context.Context, servers []string, a lookupResult) (lookupResult, []unresolvedHost, error) {
	last := lastIPs(d.feed.last())
	found := d.lookupHosts(ctx, servers, a, last)
	var lost []unresolvedHost
	for _, host := range slices.Sorted(maps.Keys(found)) {
		h := found[host]
		if h.err == nil {
			a.ttl = min(a.ttl, h.ttl)
			continue
		}
		h.ips = last[host]
		lost = append(lost, unresolvedHost{host, h.err, len(h.ips) > 0})
	}
	var members []Member
	for _, m := range a.members {
		host, port, _ := net.SplitHostPort(m.Address)
		members = append(members, m.at(found[host].ips, port)...)
	}
	if len(members) == 0 {
		return lookupResult{}, nil, errors.New(describe(lost))
	}
	a.members = uniqueAddresses(unique(members))
	return a, lost, nil
}

// at returns one member for each address. Only if there are several, the address
// becomes part of the name: otherwise the name stays the same when the address
// changes, and so does all that depends on names, such as hash.
func (m Member) at(ips []netip.Addr, port string) (members []Member) {
	target, _, _ := net.SplitHostPort(m.Address)
	for _, ip := range ips {
		one := m
		one.Host = target
		one.Address = net.JoinHostPort(ip.String(), port)
		if len(ips) > 1 {
			one.Name += "@" + ip.String()
		}
		members = append(members, one)
	}
	return members
}

// uniqueAddresses drops members that have the same address as one before them, under
// another name.
func uniqueAddresses(members []Member) []Member {
	seen := map[string]bool{}
	return slices.DeleteFunc(members, func(m Member) bool {
		again := seen[m.Address]
		seen[m.Address] = true
		return again
	})
}

// lastIPs returns the addresses of the targets in a list of resolved members.
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

// lookupHosts looks up all targets, by name.
func (d *dnsWatch) lookupHosts(ctx context.Context, servers []string, a lookupResult, last map[string][]netip.Addr) map[string]*hostResult {
	found := map[string]*hostResult{}
	var all sync.WaitGroup
	places := make(chan struct{}, hostsAtOnce)
	for _, m := range a.members {
		host, _, _ := net.SplitHostPort(m.Address)
		if found[host] != nil {
			continue
		}
		h := &hostResult{}
		found[host] = h
		places <- struct{}{}
		all.Go(func() {
			*h = d.lookupHost(ctx, servers, host, a.extra, last[host])
			<-places
		})
	}
	all.Wait()
	return found
}

// lookupHost returns addresses of one family, since a host with both is one backend:
// see Auto. For the same reason, a host that was found by IPv4 isn't used by IPv6 just
// because the query for IPv4 fails. An additional section with IPv6 only proves
// nothing, since servers add what they have at hand.
func (d *dnsWatch) lookupHost(ctx context.Context, servers []string, host string, extra []dns.RR, last []netip.Addr) hostResult {
	if ip, err := netip.ParseAddr(host); err == nil { // not a name, but usable
		return hostResult{ips: []netip.Addr{ip}, ttl: 1 << 31 * time.Second}
	}
	var failure error
	var none []string
	var unrouted *hostResult // if this machine has no route to its addresses
	types := d.addressTypes()
	for _, t := range types {
		h := d.lookupFamily(ctx, servers, dns.Fqdn(host), t, extra)
		if h.err == nil {
			if len(types) == 1 || slices.ContainsFunc(h.ips, d.routed) {
				return h
			}
			if unrouted == nil {
				unrouted = &h
			}
			continue
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
	if unrouted != nil {
		return *unrouted // better than none: a route may appear
	}
	if failure == nil {
		failure = errors.New(strings.Join(slices.Compact(none), ", "))
	}
	return hostResult{err: failure}
}

// lookupFamily looks for addresses of one type, first in the additional section.
func (d *dnsWatch) lookupFamily(ctx context.Context, servers []string, name string, t uint16, extra []dns.RR) hostResult {
	records, ttl := relevant(extra, name, t)
	ips, _ := hostIPs(records)
	if len(ips) == 0 {
		a, err := d.askType(ctx, servers, name, t)
		if err != nil {
			return hostResult{err: err}
		}
		ttl = a.ttl
		for _, m := range a.members {
			ips = append(ips, netip.MustParseAddrPort(m.Address).Addr())
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return hostResult{ips: slices.Compact(ips), ttl: ttl}
}

// describe says which targets weren't found, and why.
func describe(lost []unresolvedHost) string {
	var list []string
	for _, h := range lost[:min(len(lost), hostsNamed)] {
		outcome := "is not found"
		if h.keepsLast {
			outcome = "keeps its last addresses"
		}
		list = append(list, fmt.Sprintf("target %s %s: %v", h.host, outcome, h.reason))
	}
	if more := len(lost) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("%d more of the targets", more))
	}
	return strings.Join(list, "; ")
}

// anyNew reports whether one of lost was not logged since the last success, and marks
// all of them as logged.
func (d *dnsWatch) anyNew(lost []unresolvedHost) (fresh bool) {
	if d.logged == nil {
		d.logged = map[string]bool{}
	}
	for _, h := range lost {
		fresh = fresh || !d.logged[h.host]
		d.logged[h.host] = true
	}
	return fresh
}
