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

	"github.com/miekg/dns"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// maxWeight is the highest weight of a member, as in the configuration.
const maxWeight = 256

// answer is what a reply came to.
type answer struct {
	// members are at least one, sorted by name, names unique. Those of SRV
	// records have their host's name in Address until locate.
	members []Member
	ttl     time.Duration // the smallest of all records that were used
	extra   []dns.RR      // of an SRV reply: may have the hosts' addresses (RFC 2782)
}

// read takes the records that were asked for out of a checked reply. port is
// that of addresses. Records that lead nowhere, such as 0.0.0.0 or a target
// that is no host name, are left out as long as there are others.
func read(reply *dns.Msg, port int) (answer, error) {
	q := reply.Question[0]
	if reply.Rcode == dns.RcodeNameError {
		return answer{}, noRecords(fmt.Sprintf("%s does not exist", q.Name))
	}
	records, ttl := relevant(reply.Answer, q.Name, q.Qtype)
	var members []Member
	var err error
	if q.Qtype == dns.TypeSRV {
		members, err = hosts(records)
	} else {
		members, err = addresses(records, port)
	}
	switch {
	case len(members) > 0:
		return answer{unique(members), ttl, reply.Extra}, nil
	case err != nil:
		return answer{}, noRecords(fmt.Sprintf("%s has no useful %s record: %v", q.Name, dns.TypeToString[q.Qtype], err))
	}
	return answer{}, noRecords(fmt.Sprintf("%s has no %s records", q.Name, dns.TypeToString[q.Qtype]))
}

// unique sorts members and keeps the heaviest of those with the same name.
func unique(members []Member) []Member {
	slices.SortFunc(members, func(a, b Member) int { return cmp.Or(byName(a, b), cmp.Compare(b.Weight, a.Weight)) })
	return slices.CompactFunc(members, func(a, b Member) bool { return a.Name == b.Name })
}

// relevant returns the records of type t at the end of the chain of CNAMEs that
// begins at name, and the smallest TTL of them and the chain.
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

// seconds is a TTL; one with the highest bit counts as 0 (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// hosts are the members of SRV records: those of the lowest priority, since
// the balancer knows no backup servers.
func hosts(records []dns.RR) (members []Member, err error) {
	lowest, heaviest := -1, 0
	for _, rr := range records {
		srv, ok := rr.(*dns.SRV)
		if !ok {
			continue
		}
		target := strings.ToLower(strings.TrimSuffix(srv.Target, "."))
		if target == "" { // "decidedly not available" (RFC 2782)
			err = fmt.Errorf("the target is %q", srv.Target)
			continue
		}
		address := net.JoinHostPort(target, strconv.Itoa(int(srv.Port)))
		a, bad := pool.ParseAddress(address)
		if bad == nil && a.IP.IsValid() && !isHost(a.IP) {
			bad = errNoHost
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

// scale brings a weight of SRV records, 0 to 65535, into 1 to maxWeight. If
// none of them is higher they stay as they are, so that one that changes
// doesn't change the others.
func scale(weight, heaviest int) int {
	if heaviest > maxWeight {
		weight = (weight*maxWeight + heaviest/2) / heaviest
	}
	return max(weight, 1)
}

// addresses are the members of A and AAAA records.
func addresses(records []dns.RR, port int) (members []Member, err error) {
	ips, err := hostIPs(records)
	for _, ip := range ips {
		address := netip.AddrPortFrom(ip, uint16(port)).String()
		members = append(members, Member{Name: address, Address: address, Weight: 1})
	}
	return members, err
}

var errNoHost = errors.New("is not the address of a host")

func isHost(ip netip.Addr) bool { return !ip.IsUnspecified() && !ip.IsMulticast() }

// hostIPs are the addresses in A and AAAA records. The error is of the last one
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
