package httphead

import (
	"bytes"
	"net/netip"
)

// maxHost is the longest host with a port: a DNS name is 255 bytes at most.
const maxHost = 255 + len(":65535")

// MaxHostname is the length of the longest name that AppendHostname appends.
const MaxHostname = 255

// ValidHost reports whether b is a host with an optional port: a name or an IPv4 address
// of letters, digits, "-", "_" and single dots, or an IPv6 address in brackets. What
// else RFC 3986 §3.2.2 allows in a name (percent-encodings, "!$&'()*+,;=~") occurs only
// in attacks, and user information is not allowed in http (RFC 9110 §4.2.4). The port
// may be empty, as in "name:".
func ValidHost(b []byte) bool {
	_, _, ok := splitHost(b)
	return ok
}

// Port returns the port of a valid host, nil if it has none.
func Port(host []byte) []byte {
	_, port, _ := splitHost(host)
	return port
}

// AppendHostname appends a valid host in the form for comparing names: lower case,
// without port and final dot; an IPv6 address in brackets and in its canonical form. It
// appends nothing if the host isn't valid.
func AppendHostname(dst, host []byte) []byte {
	name, _, ok := splitHost(host)
	if !ok {
		return dst
	}
	if name[0] == '[' {
		addr, _ := parseLiteral(name)
		return append(addr.AppendTo(append(dst, '[')), ']')
	}
	for _, c := range bytes.TrimSuffix(name, []byte{'.'}) {
		dst = append(dst, lower(c))
	}
	return dst
}

func splitHost(b []byte) (name, port []byte, ok bool) {
	if len(b) == 0 || len(b) > maxHost {
		return nil, nil, false
	}
	name = b
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return nil, nil, false
		}
		name, port = b[:end+1], b[end+1:]
		if _, ok := parseLiteral(name); !ok {
			return nil, nil, false
		}
	} else {
		if i := bytes.IndexByte(b, ':'); i >= 0 {
			name, port = b[:i], b[i:]
		}
		if !validName(name) {
			return nil, nil, false
		}
	}
	switch {
	case len(port) == 0, len(port) == 1 && port[0] == ':': // RFC 3986 §3.2.3
		return name, nil, true
	}
	return name, port[1:], port[0] == ':' && validPort(port[1:])
}

func validName(b []byte) bool {
	if len(b) > MaxHostname {
		return false
	}
	before := byte('.') // so that the name is not empty and doesn't start with a dot
	for _, c := range b {
		if class[c]&hostByte == 0 || c == '.' && before == '.' {
			return false
		}
		before = c
	}
	return len(b) > 0
}

func validPort(b []byte) bool {
	n, ok := number(b)
	return ok && len(b) <= 5 && n <= 65535
}

// parseLiteral parses "[IPv6]". A zone is rejected: it has no meaning on other machines.
func parseLiteral(b []byte) (netip.Addr, bool) {
	if len(b) < 2 || len(b) > 48 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(string(b[1 : len(b)-1]))
	return addr, err == nil && addr.Is6() && addr.Zone() == ""
}

// number parses 1*DIGIT that fits into an int64.
func number(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
