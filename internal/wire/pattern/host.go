// Package pattern has the patterns for the host and the path of a request that
// routes are made of. Whoever reads a pattern parses it here once and passes on
// the Host or Path; stage/route matches requests by them. Matching doesn't
// allocate.
package pattern

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Host is a pattern for the host of a request: a name, an IPv4 address, an IPv6
// address in brackets, or "*.example.com" for all names below example.com at
// any depth, not example.com itself. Case and a port don't matter. The zero
// Host matches every request.
type Host struct {
	name     string // in lower case, without "*." and a final dot
	wildcard bool
}

// ParseHost reads a pattern in the form that Host describes. The empty text is
// refused, since it could be a mistake: leave the pattern zero instead.
func ParseHost(s string) (Host, error) {
	h, err := parseHost(s)
	if err != nil {
		return Host{}, fmt.Errorf("bad host %s: %w", hint.Quote(s), err)
	}
	return h, nil
}

func parseHost(s string) (h Host, err error) {
	if s == "" || s == "*" {
		return h, errors.New("leave the key out to match every host")
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !ok || err != nil || !ip.Is6() || ip.Zone() != "" {
			return h, errors.New("brackets are for an IPv6 address without a port, such as [::1]")
		}
		return Host{name: "[" + ip.String() + "]"}, nil
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Is6() {
			return h, errors.New("an IPv6 address stands in brackets, such as [::1]")
		}
		return Host{name: s}, nil
	}
	if strings.Contains(s, "://") {
		return h, errors.New("write just the host, without scheme and path")
	}
	if host, _, ok := strings.Cut(s, ":"); ok {
		return h, fmt.Errorf("write it without a port: %s", hint.Quote(host))
	}
	if strings.Contains(s, "/") {
		return h, errors.New("a path has a key of its own, path")
	}
	name, wildcard := strings.CutPrefix(s, "*.")
	if strings.Contains(name, "*") {
		return h, fmt.Errorf("a %q stands only at the beginning and alone, as in *.example.com", "*")
	}
	if err := hostport.CheckName(name); err != nil {
		return h, err
	}
	return Host{strings.ToLower(strings.TrimSuffix(name, ".")), wildcard}, nil
}

// String returns the pattern in its normal form, which ParseHost accepts and
// returns unchanged; "" for the zero Host.
func (h Host) String() string {
	if h.wildcard {
		return "*." + h.name
	}
	return h.name
}

// Wider lists the patterns that match every host that h matches, h itself
// first and the zero Host last.
func (h Host) Wider() []Host {
	if h == (Host{}) {
		return []Host{h}
	}
	hosts := []Host{h}
	if _, err := netip.ParseAddr(strings.Trim(h.name, "[]")); err != nil {
		for rest := h.name; ; {
			_, above, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			hosts = append(hosts, Host{above, true})
			rest = above
		}
	}
	return append(hosts, Host{})
}

// BareHost returns the value of a Host field without its port and the dot that
// ends a rooted name.
func BareHost[S ~string | ~[]byte](host S) S {
	for i := len(host) - 1; i >= 0 && host[i] != ']'; i-- {
		if host[i] == ':' {
			host = host[:i]
			break
		}
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	return host
}

// MatchHost reports whether h matches a host that BareHost returned.
func MatchHost[S ~string | ~[]byte](h Host, host S) bool {
	if h.name == "" {
		return true
	}
	if !h.wildcard {
		return equalFold(host, h.name)
	}
	n := len(host) - len(h.name) // of what is below, with the dot
	return n > 1 && host[0] != '.' && host[n-1] == '.' && equalFold(host[n:], h.name)
}

// equalFold compares s with an ASCII string in lower case.
func equalFold[S ~string | ~[]byte](s S, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
