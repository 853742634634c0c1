// Package origin has the Origin field of requests, in which a browser says which page
// one is from (RFC 6454 §7), and the patterns that say which origins are admitted.
package origin

import (
	"bytes"

	"golang.org/x/net/publicsuffix"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Origin is the value of an Origin field.
type Origin struct {
	opaque bool // "null": a page that belongs to no host
	scheme []byte
	host   []byte // as httphead.AppendHostname writes it; empty in a few schemes such as file
	port   int    // that of the scheme if none was given; 0 if the scheme has none
}

// Room is enough for the host of any Origin.
type Room [httphead.MaxHostname + 2]byte // with the brackets of an IPv6 address

// Read reads the value of an Origin field: one serialized origin, or null. ok is false for
// everything else, such as a list, a path or user information, which no browser sends (RFC
// 6454 §6.2). o consists of slices of value and room.
func Read(value []byte, room *Room) (o Origin, ok bool) {
	if string(value) == "null" {
		return Origin{opaque: true}, true
	}
	scheme, rest, ok := bytes.Cut(value, []byte("://"))
	if !ok || !isScheme(scheme) {
		return o, false
	}
	o.scheme, o.port = scheme, defaultPort(scheme)
	if len(rest) == 0 {
		return o, o.port == 0 // file://, which is how some apps name themselves
	}
	o.host = httphead.AppendHostname(room[:0], rest)
	if port := httphead.Port(rest); port != nil {
		o.port = 0
		for _, c := range port { // at most 65535, if the host is valid
			o.port = o.port*10 + int(c-'0')
		}
	}
	return o, len(o.host) > 0
}

// isWeb reports whether the page was loaded by http or https.
func (o *Origin) isWeb() bool {
	return httphead.EqualFold(o.scheme, "http") || httphead.EqualFold(o.scheme, "https")
}

// isScheme checks RFC 3986 §3.1.
func isScheme[S ~string | ~[]byte](s S) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return len(s) > 0
}

func defaultPort(scheme []byte) int {
	switch {
	case httphead.EqualFold(scheme, "http"):
		return 80
	case httphead.EqualFold(scheme, "https"):
		return 443
	}
	return 0
}

// SameSite reports whether two hosts, as httphead.AppendHostname writes them, belong to
// the same site: they are equal, or have the same registrable domain, which is the public
// suffix and one label more. Suffixes under which a company lets others register, such as
// github.io, are public, too. IP addresses and names of one label are the same only if
// they are equal.
func SameSite(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	if bytes.Equal(a, b) {
		return true
	}
	if !isName(a) || !isName(b) {
		return false
	}
	site, err := publicsuffix.EffectiveTLDPlusOne(string(a))
	if err != nil {
		return false // a public suffix, which belongs to nobody
	}
	other, err := publicsuffix.EffectiveTLDPlusOne(string(b))
	return err == nil && site == other
}

// isName reports whether a host isn't an IP address, in any of the forms that have been
// in use: no top-level domain begins with a digit.
func isName(host []byte) bool {
	last := host[bytes.LastIndexByte(host, '.')+1:]
	return len(last) > 0 && last[0] != '[' && !('0' <= last[0] && last[0] <= '9')
}

// Quote quotes the value of a field for the log: on one line, and not too long.
func Quote(value []byte) string { return hint.Quote(string(value)) }
