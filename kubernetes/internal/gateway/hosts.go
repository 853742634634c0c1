package gateway

import (
	"cmp"
	"strings"
)

// intersect is the narrower one of two host patterns; ok is false if no host matches both.
// "" is every host.
func intersect(a, b string) (host string, ok bool) {
	switch {
	case a == b || b == "":
		return a, true
	case a == "" || covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}

// covers reports whether every host of b is one of the wildcard a.
func covers(a, b string) bool {
	suffix, ok := strings.CutPrefix(a, "*")
	return ok && strings.HasSuffix(b, suffix) && len(b) > len(suffix)
}

// moreSpecific sorts the pattern first whose hosts are to be looked for first: a name before
// a wildcard, and a longer one before a shorter one. "" comes last.
func moreSpecific(a, b string) int {
	exact := func(s string) int {
		if s == "" || strings.HasPrefix(s, "*") {
			return 0
		}
		return len(s)
	}
	return cmp.Or(exact(b)-exact(a), len(b)-len(a), cmp.Compare(a, b))
}
