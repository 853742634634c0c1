package forwarded

import (
	"bytes"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// maxNode is longer than any address with a port: an IPv6 address is 39 bytes,
// 45 with an IPv4 one in it.
const maxNode = len("[]:65535") + 45

// parseNode parses an address with an optional port, or an "unknown" or obfuscated
// identifier as an invalid address (RFC 7239 §6). IPv6 may come without brackets, as in
// X-Forwarded-For.
func parseNode(b []byte) (addr netip.AddrPort, ok bool) {
	if httphead.EqualFold(b, "unknown") || len(b) > 1 && b[0] == '_' && httphead.IsToken(b) {
		return netip.AddrPort{}, true
	}
	if len(b) == 0 || len(b) > maxNode {
		return netip.AddrPort{}, false
	}
	var err error
	colon := bytes.LastIndexByte(b, ':')
	switch {
	case b[0] == '[' && b[len(b)-1] == ']':
		var ip netip.Addr
		ip, err = netip.ParseAddr(string(b[1 : len(b)-1]))
		ok = ip.Is6()
		addr = netip.AddrPortFrom(ip, 0)
	case b[0] == '[', colon >= 0 && bytes.IndexByte(b, ':') == colon:
		addr, err = netip.ParseAddrPort(string(b))
		ok = true
	default:
		var ip netip.Addr
		ip, err = netip.ParseAddr(string(b))
		ok = true
		addr = netip.AddrPortFrom(ip, 0)
	}
	// A zone isn't allowed in these fields, and has no meaning on this machine.
	if err != nil || !ok || addr.Addr().Zone() != "" {
		return netip.AddrPort{}, false
	}
	return normalize(addr), true
}

// element is one element of Forwarded.
type element struct {
	addr   netip.AddrPort
	origin origin
}

// parseElement parses "for=...;host=...;proto=...": pairs of a token and a token or quoted
// string (RFC 7239 §4). The known ones must be well-formed and not repeated. Without a
// "for", ok is false: it doesn't describe a hop.
func parseElement(b []byte) (e element, ok bool) {
	var node, host, proto, by bool // seen
	for len(b) > 0 {
		var name, value []byte
		if name, value, b, ok = cutPair(b); !ok {
			return element{}, false
		}
		switch {
		case httphead.EqualFold(name, "for"):
			e.addr, ok = parseNode(value)
			ok, node = ok && !node, true
		case httphead.EqualFold(name, "by"):
			_, ok = parseNode(value)
			ok, by = ok && !by, true
		case httphead.EqualFold(name, "host"):
			e.origin.host = value
			ok, host = httphead.ValidHost(value) && !host, true
		case httphead.EqualFold(name, "proto"):
			e.origin.proto = parseProto(value)
			ok, proto = e.origin.proto != "" && !proto, true
		}
		if !ok {
			return element{}, false
		}
	}
	return e, node
}

// cutPair cuts "name=value" and the semicolon after it off b. The value of a quoted string
// is returned as it is between the quotes: no known value needs a backslash. Space around
// the semicolon isn't in the grammar but in the RFC's own examples.
func cutPair(b []byte) (name, value, rest []byte, ok bool) {
	name, b, ok = bytes.Cut(b, []byte{'='})
	if name = bytes.TrimLeft(name, " \t"); !ok || !httphead.IsToken(name) {
		return nil, nil, nil, false
	}
	if len(b) > 0 && b[0] == '"' {
		end := closingQuote(b)
		if end < 0 {
			return nil, nil, nil, false
		}
		value, b = b[1:end], b[end+1:]
	} else {
		end := 0
		for end < len(b) && b[end] != ';' && b[end] != ' ' && b[end] != '\t' {
			end++
		}
		if value, b = b[:end], b[end:]; !httphead.IsToken(value) {
			return nil, nil, nil, false
		}
	}
	b = bytes.TrimLeft(b, " \t")
	rest, ok = bytes.CutPrefix(b, []byte{';'})
	return name, value, rest, ok || len(b) == 0
}

// closingQuote returns the end of the quoted string that b starts with, -1 if it isn't
// closed.
func closingQuote(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return -1
}
