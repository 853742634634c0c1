package config

import "net/netip"

// ports are the addresses that are listened on. Each is entered under every
// reach it has, so that overlaps are found without going through all.
type ports map[claim]place

type claim struct {
	port  uint16
	reach reach
	host  string // only with exactly
}

type reach uint8

const (
	exactly   reach = iota // this one address
	somewhere              // any address at all
	everyIPv4              // all IPv4 addresses
	someIPv4               // any IPv4 address
	everyone               // all addresses
)

// claims lists what listening on a takes, and what must not be taken before.
func claims(a address) (takes, excludes []claim) {
	exact := claim{a.port, exactly, a.host}
	takes = []claim{exact, {port: a.port, reach: somewhere}}
	excludes = []claim{exact, {port: a.port, reach: everyone}}
	if a.ip.Is4() {
		takes = append(takes, claim{port: a.port, reach: someIPv4})
		excludes = append(excludes, claim{port: a.port, reach: everyIPv4})
	}
	if a.ip == netip.IPv4Unspecified() {
		takes = append(takes, claim{port: a.port, reach: everyIPv4})
		excludes = append(excludes, claim{port: a.port, reach: someIPv4})
	}
	// Linux takes the IPv4 addresses along with "[::]".
	if a.host == "" || a.ip == netip.IPv6Unspecified() {
		takes = append(takes, claim{port: a.port, reach: everyone})
		excludes = append(excludes, claim{port: a.port, reach: somewhere})
	}
	return takes, excludes
}

// checkPort enters a, and tells whether it can be listened on beside all that
// were entered before.
func (r *report) checkPort(taken ports, what string, a located[address]) bool {
	if a.value.port == 0 { // the system finds a free one
		return true
	}
	takes, excludes := claims(a.value)
	for i, c := range excludes {
		before, ok := taken[c]
		switch {
		case !ok:
			continue
		case i == 0:
			r.fail(a.at, "duplicate %s %s (first %s)", what, quote(a.value.String()), before.earlier())
		default:
			r.fail(a.at, "%s %s overlaps with the one %s: both take port %d", what, quote(a.value.String()), before.earlier(), a.value.port)
		}
		return false
	}
	for _, c := range takes {
		if _, ok := taken[c]; !ok {
			taken[c] = a.at
		}
	}
	return true
}
