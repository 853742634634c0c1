package config

import (
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// ports are the addresses that are listened on, with their paths. Each is entered
// under every reach it has, so that overlaps are found without comparing all.
type ports map[claim]Path

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

// claims lists the claims of listening on a, and those that must not have been
// made before.
func claims(a hostport.Address) (takes, excludes []claim) {
	if a.Path != "" {
		exact := []claim{{reach: exactly, host: a.String()}}
		return exact, exact
	}
	exact := claim{a.Port, exactly, a.HostString()}
	takes = []claim{exact, {port: a.Port, reach: somewhere}}
	excludes = []claim{exact, {port: a.Port, reach: everyone}}
	if a.IP.Is4() {
		takes = append(takes, claim{port: a.Port, reach: someIPv4})
		excludes = append(excludes, claim{port: a.Port, reach: everyIPv4})
	}
	if a.IP == netip.IPv4Unspecified() {
		takes = append(takes, claim{port: a.Port, reach: everyIPv4})
		excludes = append(excludes, claim{port: a.Port, reach: someIPv4})
	}
	// Linux takes the IPv4 addresses along with "[::]".
	if a.HostString() == "" || a.IP == netip.IPv6Unspecified() {
		takes = append(takes, claim{port: a.Port, reach: everyone})
		excludes = append(excludes, claim{port: a.Port, reach: somewhere})
	}
	return takes, excludes
}

// port enters a, and reports whether it can be listened on beside all that were
// entered before.
func (v *Validator) port(taken ports, what string, p Path, a hostport.Address) bool {
	if a.Port == 0 && a.Path == "" { // the system finds a free one
		return true
	}
	takes, excludes := claims(a)
	for i, c := range excludes {
		before, ok := taken[c]
		switch {
		case !ok:
			continue
		case i == 0:
			v.Fail(p, "duplicate %s %s (first %s)", what, hint.Quote(a.String()), v.where(before))
		default:
			v.Fail(p, "%s %s overlaps with the one %s: both take port %d", what, hint.Quote(a.String()), v.where(before), a.Port)
		}
		return false
	}
	for _, c := range takes {
		if _, ok := taken[c]; !ok {
			taken[c] = p
		}
	}
	return true
}
