package forwarded

import (
	"bytes"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// maxHops is how many hops before the peer are passed on, the nearest ones. It keeps
// clients from making the head larger than a backend accepts.
const maxHops = 16

// node is one hop as a proxy reported it.
type node struct {
	addr netip.AddrPort // invalid for "unknown" and obfuscated identifiers
	text []byte         // the well-formed member of Forwarded that it is from, nil if from X-Forwarded-For
}

// chain is the hops before the peer, the nearest last.
type chain struct {
	hops [maxHops]node
	n    int

	reported origin // by the first hop in Forwarded, if that is believed
}

func (c *chain) nodes() []node { return c.hops[:c.n] }

func (c *chain) add(hop node) {
	if c.n == maxHops {
		copy(c.hops[:], c.hops[1:])
		c.n--
	}
	c.hops[c.n] = hop
	c.n++
}

// read sets c from X-Forwarded-For and Forwarded.
func (c *chain) read(in httphead.Fields) {
	for list := range in.Values("x-forwarded-for") {
		for member, rest := cutComma(list); member != nil; member, rest = cutComma(rest) {
			if addr, ok := parseNode(member); ok {
				c.add(node{addr: addr})
			} else {
				c.n = 0
			}
		}
	}
	var f chain
	for list := range in.Values("forwarded") {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			e, ok := parseElement(member)
			if !ok {
				f.n, f.reported = 0, origin{}
				continue
			}
			if f.n == 0 {
				f.reported = e.origin
			}
			f.add(node{addr: e.addr, text: member})
		}
	}
	if c.n == 0 && in.Count("x-forwarded-for") == 0 || c.sameHops(&f) {
		*c = f
	}
}

// sameHops reports whether f has the same hops as c.
func (c *chain) sameHops(f *chain) bool {
	if c.n != f.n {
		return false
	}
	for i := range c.nodes() {
		if c.hops[i].addr.Addr() != f.hops[i].addr.Addr() {
			return false
		}
	}
	return true
}

// appendFor appends the hops as the start of X-Forwarded-For.
func (c *chain) appendFor(dst []byte) []byte {
	for _, hop := range c.nodes() {
		if hop.addr.IsValid() {
			dst = hop.addr.Addr().AppendTo(dst)
		} else {
			dst = append(dst, "unknown"...)
		}
		dst = append(dst, ", "...)
	}
	return dst
}

// appendForwarded appends the hops as the start of Forwarded: as received, or made from
// X-Forwarded-For, with told added to the first one.
func (c *chain) appendForwarded(dst []byte, told origin) []byte {
	for i, hop := range c.nodes() {
		switch {
		case hop.text != nil:
			dst = append(dst, hop.text...)
		case i == 0:
			dst = appendElement(dst, hop.addr.Addr(), told)
		default:
			dst = appendElement(dst, hop.addr.Addr(), origin{})
		}
		dst = append(dst, ", "...)
	}
	return dst
}

// appendElement appends one element of Forwarded (RFC 7239 §4). An IPv6 address and a
// host with a port aren't tokens and must be quoted (§6).
func appendElement(dst []byte, addr netip.Addr, o origin) []byte {
	dst = append(dst, "for="...)
	switch {
	case !addr.IsValid():
		dst = append(dst, "unknown"...)
	case addr.Is6():
		dst = append(dst, `"[`...)
		dst = addr.AppendTo(dst)
		dst = append(dst, `]"`...)
	default:
		dst = addr.AppendTo(dst)
	}
	if o.host != nil {
		dst = append(dst, ";host="...)
		if httphead.IsToken(o.host) {
			dst = append(dst, o.host...)
		} else { // nothing in a valid host needs a backslash
			dst = append(dst, '"')
			dst = append(dst, o.host...)
			dst = append(dst, '"')
		}
	}
	if o.proto != "" {
		dst = append(dst, ";proto="...)
		dst = append(dst, o.proto...)
	}
	return dst
}

// cutComma is NextMember for a list without quoted strings, in which a client's stray
// quote must not swallow what a proxy appended.
func cutComma(list []byte) (member, rest []byte) {
	for len(list) > 0 {
		member, rest, _ = bytes.Cut(list, []byte{','})
		if member = bytes.Trim(member, " \t"); len(member) > 0 {
			return member, rest
		}
		list = rest
	}
	return nil, nil
}
