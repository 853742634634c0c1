package route

import (
	"errors"
	"net/netip"
	"strings"
)

// CheckHost tells what is wrong with a Rule.Host.
func CheckHost(host string) error {
	if host == "" {
		return nil
	}
	if ip, ok := strings.CutPrefix(host, "["); ok {
		ip, ok = strings.CutSuffix(ip, "]")
		if a, err := netip.ParseAddr(ip); ok && err == nil && a.Is6() {
			return nil
		}
		return errors.New("brackets are for an IPv6 address alone, as in [::1]; the port is not matched")
	}
	name := strings.TrimPrefix(host, "*.")
	if strings.Contains(name, "*") {
		return errors.New("a * stands only at the start, as in *.example.com")
	}
	if strings.Contains(name, ":") {
		return errors.New("leave out the port, it is not matched; an IPv6 address stands in brackets")
	}
	name = strings.TrimSuffix(name, ".")
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return errors.New("a label is empty")
		}
		for i := range len(label) {
			c := label[i] | 0x20
			if (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' && label[i] != '_' {
				return errors.New("want letters, digits, hyphens and dots; write other scripts as xn--")
			}
		}
	}
	return nil
}

// bareHost is host without its port and the dot that ends a rooted name.
func bareHost[S ~string | ~[]byte](host S) S {
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

func matchHost[S ~string | ~[]byte](r *compiled, host S) bool {
	if r.host == "" {
		return true
	}
	if !r.wildcard {
		return equalFold(host, r.host)
	}
	n := len(host) - len(r.host) // what is left of it, with the dot
	return n > 1 && host[0] != '.' && host[n-1] == '.' && equalFold(host[n:], r.host)
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
