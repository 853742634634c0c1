package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// roundTimeout bounds all questions of one round, whatever the number of
// servers and search domains.
const roundTimeout = 20 * time.Second

// dnsFollower keeps one feed up to date from DNS.
type dnsFollower struct {
	feed       *feed
	resolver   resolver
	resolvConf string
	failures   int             // in a row
	told       map[string]bool // hosts of SRV records that the log was told of in this trouble

	// What answered last: the full name, and the lists of its two families
	// of addresses. SRV uses the first.
	name     string
	families [2][]Member
}

func newDNSFollower(f *feed, m means) *dnsFollower {
	return &dnsFollower{feed: f, resolver: resolver{exchange: m.exchange}, resolvConf: m.resolvConf}
}

func (d *dnsFollower) try(ctx context.Context) time.Duration {
	refresh := d.feed.source.dns.Refresh
	round, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	a, lost, err := d.round(round)
	switch {
	case err != nil:
		d.failures++
		d.told = nil
		d.feed.fail(ctx, err)
		return afterFailures(d.failures, refresh)
	case len(lost) > 0:
		d.failures++
		d.feed.answerInPart(ctx, a.members, trouble(lost), d.news(lost))
		return min(afterAnswer(a.ttl, refresh), afterFailures(d.failures, refresh))
	}
	d.failures, d.told = 0, nil
	d.feed.answer(ctx, a.members)
	return afterAnswer(a.ttl, refresh)
}

// round asks all that there is to ask once.
func (d *dnsFollower) round(ctx context.Context) (a answer, lost []lostHost, err error) {
	conf, err := d.configuration()
	if err != nil {
		return answer{}, nil, err
	}
	if a, err = d.lookup(ctx, conf); err == nil && d.feed.source.dns.Type == SRV {
		// Another search domain doesn't stand in for a name that is there.
		return d.locate(ctx, conf.Servers, a)
	}
	return a, nil, err
}

// afterAnswer is how long to wait after an answer. The jitter keeps pools from
// asking in step. It comes after the TTL: before, a caching server would give
// the same answer again.
func afterAnswer(ttl, refresh time.Duration) time.Duration {
	ttl = max(ttl, shortestRefresh)
	if pause := ttl + rand.N(ttl/10); pause < refresh {
		return pause
	}
	return max(refresh-rand.N(refresh/10), shortestRefresh)
}

// afterFailures doubles with each failure, up to refresh.
func afterFailures(n int, refresh time.Duration) time.Duration {
	most := refresh
	if n < 16 {
		most = min(shortestRefresh<<n, refresh)
	}
	return max(most/2+rand.N(most/2), shortestRefresh)
}

// noRecords is the firm answer that there is nothing, as opposed to a failure
// to get one.
type noRecords string

func (e noRecords) Error() string { return string(e) }

// lookup asks for the name with each search domain in turn, as resolvers do.
func (d *dnsFollower) lookup(ctx context.Context, conf *dns.ClientConfig) (answer, error) {
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
			// Another zone's answer doesn't stand in for the name that was
			// good until now only because a server is down.
			return answer{}, err
		case unsure == nil:
			unsure = err
		}
	}
	if unsure == nil {
		unsure = noRecords(strings.Join(none, "; "))
	}
	return answer{}, unsure
}

// ask asks for one full name. With type A, a family that fails keeps its last
// addresses as long as the other one answers: some servers never learn to
// answer AAAA (RFC 4074).
func (d *dnsFollower) ask(ctx context.Context, servers []string, name string) (all answer, err error) {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	if d.feed.source.dns.Type == SRV {
		types = []uint16{dns.TypeSRV}
	}
	var families [2][]Member
	if name == d.name {
		families = d.families
	}
	var failure, none error
	for i, t := range types {
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
		all.members = unique(slices.Concat(families[:]...))
		return all, nil
	case failure != nil:
		return answer{}, failure
	default:
		return answer{}, none
	}
}

func (d *dnsFollower) askType(ctx context.Context, servers []string, name string, t uint16) (answer, error) {
	reply, err := d.resolver.query(ctx, servers, name, t)
	if err != nil {
		return answer{}, err
	}
	return read(reply, d.feed.source.dns.Port)
}

// configuration is read for each round: what writes resolv.conf, such as a DHCP
// client, does so at any time.
func (d *dnsFollower) configuration() (*dns.ClientConfig, error) {
	conf, err := dns.ClientConfigFromFile(d.resolvConf)
	server := d.feed.source.dns.Server
	switch {
	case err != nil && server == "":
		return nil, err
	case err != nil:
		conf = &dns.ClientConfig{Ndots: 1}
	}
	if server != "" {
		conf.Servers = []string{server}
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

// names lists what to ask for in turn, each with its final dot.
func names(conf *dns.ClientConfig, name string) (list []string) {
	// "search ." is in files of systemd-resolved, and means no domain.
	conf.Search = slices.DeleteFunc(conf.Search, func(s string) bool { return s == "." })
	for _, n := range conf.NameList(name) {
		if _, ok := dns.IsDomainName(n); ok && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	if len(list) == 0 { // not a name at all; the question for it says so
		list = []string{dns.Fqdn(name)}
	}
	return list
}
