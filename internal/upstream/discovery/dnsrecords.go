package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/miekg/dns"
)

// maxWeight is the highest weight of a member, as in the configuration.
const maxWeight = 256

// lookupResult is the content of a reply.
type lookupResult struct {
	// members is not empty, sorted by name, with unique names. Those of SRV
	// records have their target's name in Address until resolveHosts.
	members []Member
	ttl     time.Duration // the smallest of all records used
	extra   []dns.RR      // the additional section of an SRV reply, which may have the targets' addresses (RFC 2782)
}

// parseReply returns the records that were asked for from a checked reply. port is
// used with addresses. Useless records, such as 0.0.0.0 or a target that isn't a host
// name, are skipped if there are others.
func parseReply(reply *dns.Msg, port int) (lookupResult, error) {
	q := reply.Question[0]
	if reply.Rcode == dns.RcodeNameError {
		return lookupResult{}, noRecords(fmt.Sprintf("%s does not exist", q.Name))
	}
	records, ttl := relevant(reply.Answer, q.Name, q.Qtype)
	var members []Member
	var err error
	if q.Qtype == dns.TypeSRV {
		members, err = parseSRV(records)
	} else {
		members, err = parseAddresses(records, port)
	}
	switch {
	case len(members) > 0:
		return lookupResult{unique(members), ttl, reply.Extra}, nil
	case err != nil:
		return lookupResult{}, noRecords(fmt.Sprintf("%s has no useful %s record: %v", q.Name, dns.TypeToString[q.Qtype], err))
	}
	return lookupResult{}, noRecords(fmt.Sprintf("%s has no %s records", q.Name, dns.TypeToString[q.Qtype]))
}

// unique sorts members and keeps the one with the highest weight of each name.
func unique(members []Member) []Member {
	slices.SortFunc(members, func(a, b Member) int { return cmp.Or(byName(a, b), cmp.Compare(b.Weight, a.Weight)) })
	return slices.CompactFunc(members, func(a, b Member) bool { return a.Name == b.Name })
}

// relevant returns the records of type t at the end of the chain of CNAMEs that begins
// at name, and the smallest TTL of all of them.
func relevant(section []dns.RR, name string, t uint16) (records []dns.RR, ttl time.Duration) {
	owner, ttl := dns.CanonicalName(name), 1<<31*time.Second
	at := func(name string, t uint16) (found []dns.RR) {
		for _, rr := range section {
			h := rr.Header()
			if h.Rrtype == t && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == name {
				found = append(found, rr)
				ttl = min(ttl, seconds(h.Ttl))
			}
		}
		return found
	}
	const longestChain = 16
	for range longestChain {
		if records = at(owner, t); len(records) > 0 {
			break
		}
		alias := at(owner, dns.TypeCNAME)
		if len(alias) == 0 {
			break
		}
		c, ok := alias[0].(*dns.CNAME)
		if !ok {
			break
		}
		owner = dns.CanonicalName(c.Target)
	}
	return records, ttl
}

// seconds converts a TTL; one with the highest bit set counts as 0 (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// parseSRV returns the members of the SRV records with the lowest priority, since the
// balancer has no backup servers.
func parseSRV(records []dns.RR) (members []Member, err error) {
	lowest, heaviest := -1, 0
	for _, rr := range records {
		srv, ok := rr.(*dns.SRV)
		if !ok {
			continue
		}
		target := strings.ToLower(strings.TrimSuffix(srv.Target, "."))
		if target == "" { // "decidedly not available" by RFC 2782
			err = fmt.Errorf("the target is %q", srv.Target)
			continue
		}
		address := net.JoinHostPort(target, strconv.Itoa(int(srv.Port)))
		a, bad := hostport.Parse(address)
		switch {
		case bad != nil:
		case a.IP.IsValid() && !isHost(a.IP):
			bad = errNoHost
		default:
			bad = a.CheckTarget("target")
		}
		if bad != nil {
			err = fmt.Errorf("target %q: %w", srv.Target, bad)
			continue
		}
		priority := int(srv.Priority)
		if lowest >= 0 && priority > lowest {
			continue
		}
		if priority < lowest {
			members, heaviest = nil, 0
		}
		lowest, heaviest = priority, max(heaviest, int(srv.Weight))
		members = append(members, Member{Name: address, Address: address, Weight: int(srv.Weight)})
	}
	for i := range members {
		members[i].Weight = scale(members[i].Weight, heaviest)
	}
	return members, err
}

// scale maps the weight of an SRV record, 0 to 65535, to 1 to maxWeight. If no weight
// is higher than that they stay unchanged, so that a change of one doesn't affect the
// others.
func scale(weight, heaviest int) int {
	if heaviest > maxWeight {
		weight = (weight*maxWeight + heaviest/2) / heaviest
	}
	return max(weight, 1)
}

// parseAddresses returns the members of A and AAAA records.
func parseAddresses(records []dns.RR, port int) (members []Member, err error) {
	ips, err := hostIPs(records)
	for _, ip := range ips {
		address := netip.AddrPortFrom(ip, uint16(port)).String()
		members = append(members, Member{Name: address, Address: address, Weight: 1})
	}
	return members, err
}

var errNoHost = errors.New("is not the address of a host")

func isHost(ip netip.Addr) bool { return !ip.IsUnspecified() && !ip.IsMulticast() }

// hostIPs returns the addresses in A and AAAA records. The error is about the last one
// that can't be a host's.
func hostIPs(records []dns.RR) (ips []netip.Addr, err error) {
	for _, rr := range records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		addr, ok := netip.AddrFromSlice(ip)
		addr = addr.Unmap()
		if !ok || !isHost(addr) {
			err = fmt.Errorf("%s %w", ip, errNoHost)
			continue
		}
		ips = append(ips, addr)
	}
	return ips, err
}
