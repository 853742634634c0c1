package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// roundTimeout bounds all queries of one round, however many servers and search
// domains there are.
const roundTimeout = 20 * time.Second

// dnsWatch keeps one feed up to date from DNS.
type dnsWatch struct {
	feed       *feed
	resolver   resolver
	routed     func(netip.Addr) bool
	resolvConf string
	failures   int             // in a row
	logged     map[string]bool // targets of SRV records that were logged since the last success

	// What answered last: the full name, and its members by address family. SRV
	// uses the first.
	name     string
	families [2][]Member
}

func newDNSWatch(f *feed, m environment) *dnsWatch {
	return &dnsWatch{feed: f, resolver: resolver{exchange: m.exchange}, routed: m.routed, resolvConf: m.resolvConf}
}

func (d *dnsWatch) refresh(ctx context.Context) time.Duration {
	refresh := d.feed.source.dns.Refresh
	round, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	a, lost, err := d.round(round)
	switch {
	case err != nil:
		d.failures++
		d.logged = nil
		d.feed.fail(ctx, err)
		return afterFailures(d.failures, refresh)
	case len(lost) > 0:
		d.failures++
		d.feed.updatePartial(ctx, a.members, describe(lost), d.anyNew(lost))
		return min(afterAnswer(a.ttl, refresh), afterFailures(d.failures, refresh))
	}
	d.failures, d.logged = 0, nil
	d.feed.update(ctx, a.members)
	return afterAnswer(a.ttl, refresh)
}

// round asks everything once.
func (d *dnsWatch) round(ctx context.Context) (a lookupResult, lost []unresolvedHost, err error) {
	conf, err := d.configuration()
	if err != nil {
		return lookupResult{}, nil, err
	}
	if a, err = d.lookup(ctx, conf); err == nil && d.feed.source.dns.Type == SRV {
		// No other search domain is tried for a name that exists.
		return d.resolveHosts(ctx, conf.Servers, a)
	}
	for i := range a.members {
		a.members[i].Host = strings.TrimSuffix(d.feed.source.dns.Name, ".")
	}
	return a, nil, err
}

// afterAnswer is how long to wait after an answer. The jitter keeps the queries of
// different pools apart. It comes after the TTL: before that, a caching server would
// give the same answer again.
func afterAnswer(ttl, refresh time.Duration) time.Duration {
	ttl = max(ttl, shortestRefresh)
	if pause := ttl + rand.N(ttl/10); pause < refresh {
		return pause
	}
	return max(refresh-rand.N(refresh/10), shortestRefresh)
}

// afterFailures is how long to wait after n failures. It doubles up to refresh.
func afterFailures(n int, refresh time.Duration) time.Duration {
	most := refresh
	if n < 16 {
		most = min(shortestRefresh<<n, refresh)
	}
	return max(most/2+rand.N(most/2), shortestRefresh)
}

// noRecords is the firm answer that there is nothing, in contrast to a failure to get
// an answer.
type noRecords string

func (e noRecords) Error() string { return string(e) }

// lookup asks for the name with each search domain in turn, as resolvers do.
func (d *dnsWatch) lookup(ctx context.Context, conf *dns.ClientConfig) (lookupResult, error) {
	var unsure error
	var none []string
	for _, name := range names(conf, d.feed.source.dns.Name) {
		a, err := d.ask(ctx, conf.Servers, name)
		_, firm := errors.AsType[noRecords](err)
		switch {
		case err == nil:
			return a, nil
		case firm:
			none = append(none, err.Error())
		case name == d.name:
			// Another zone's answer must not replace the name that was good
			// until now just because a server is down.
			return lookupResult{}, err
		case unsure == nil:
			unsure = err
		}
	}
	if unsure == nil {
		unsure = noRecords(strings.Join(none, "; "))
	}
	return lookupResult{}, unsure
}

// ask asks for one full name. With type A, it asks for both families, since choosing
// one requires both. A family that fails keeps its last addresses as long as the
// other one answers: some servers never answer AAAA (RFC 4074).
func (d *dnsWatch) ask(ctx context.Context, servers []string, name string) (all lookupResult, err error) {
	types := d.addressTypes()
	if d.feed.source.dns.Type == SRV {
		types = []uint16{dns.TypeSRV}
	}
	var families [2][]Member
	if name == d.name {
		families = d.families
	}
	var failure, none error
	for _, t := range types {
		i := 0
		if t == dns.TypeAAAA {
			i = 1
		}
		a, err := d.askType(ctx, servers, name, t)
		if _, firm := errors.AsType[noRecords](err); firm {
			families[i], none = nil, err
			continue
		}
		if err != nil {
			failure = err
			continue
		}
		if all.members != nil {
			a.ttl = min(a.ttl, all.ttl)
		}
		families[i], all = a.members, a
	}
	switch {
	case all.members != nil:
		d.name, d.families = name, families
		all.members = unique(d.choose(families))
		return all, nil
	case failure != nil:
		return lookupResult{}, failure
	default:
		return lookupResult{}, none
	}
}

// addressTypes are the types of address records to ask for, in order of preference.
func (d *dnsWatch) addressTypes() []uint16 {
	switch d.feed.source.dns.Family {
	case IPv4:
		return []uint16{dns.TypeA}
	case IPv6:
		return []uint16{dns.TypeAAAA}
	}
	return []uint16{dns.TypeA, dns.TypeAAAA}
}

// choose returns the members of one family, see Auto, or all with Both.
func (d *dnsWatch) choose(families [2][]Member) []Member {
	four, six := families[0], families[1]
	switch {
	case d.feed.source.dns.Family == Both:
		return slices.Concat(four, six)
	case len(six) == 0, len(four) > 0 && (d.anyRouted(four) || !d.anyRouted(six)):
		return slices.Clone(four)
	}
	return slices.Clone(six)
}

func (d *dnsWatch) anyRouted(members []Member) bool {
	return slices.ContainsFunc(members, func(m Member) bool {
		at, err := netip.ParseAddrPort(m.Address)
		return err == nil && d.routed(at.Addr())
	})
}

// hasRoute reports whether this machine has a route to ip. It sends nothing: connecting
// a datagram socket only looks at the routing table.
func hasRoute(ip netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (d *dnsWatch) askType(ctx context.Context, servers []string, name string, t uint16) (lookupResult, error) {
	reply, err := d.resolver.query(ctx, servers, name, t)
	if err != nil {
		return lookupResult{}, err
	}
	return parseReply(reply, d.feed.source.dns.Port)
}

// configuration is read for each round, since resolv.conf may change at any time, for
// example by a DHCP client.
func (d *dnsWatch) configuration() (*dns.ClientConfig, error) {
	conf, err := dns.ClientConfigFromFile(d.resolvConf)
	server := d.feed.source.dns.Server
	switch {
	case err != nil && server.IsZero():
		return nil, err
	case err != nil:
		conf = &dns.ClientConfig{Ndots: 1}
	}
	if !server.IsZero() {
		conf.Servers = []string{server.String()}
		return conf, nil
	}
	for i, s := range conf.Servers {
		conf.Servers[i] = withPort(s, conf.Port)
	}
	if len(conf.Servers) == 0 {
		return nil, errors.New(d.resolvConf + " names no DNS server")
	}
	return conf, nil
}

// names lists the full names to ask for in turn, each with its final dot.
func names(conf *dns.ClientConfig, name string) (list []string) {
	// systemd-resolved writes "search .", which means no domain.
	conf.Search = slices.DeleteFunc(conf.Search, func(s string) bool { return s == "." })
	for _, n := range conf.NameList(name) {
		if _, ok := dns.IsDomainName(n); ok && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	if len(list) == 0 { // not a valid name; the query will say so
		list = []string{dns.Fqdn(name)}
	}
	return list
}
