// Package clientprefix says which addresses count as one client, for limits and keys
// by client.
package clientprefix

import (
	"encoding/binary"
	"net/netip"
)

// Of returns what a counts as: an IPv4 address as itself, an IPv6 address as its first
// 64 bits, since a network of that size usually belongs to one customer, who can use
// any address in it. Zones are dropped, and an IPv4-mapped IPv6 address counts as IPv4.
// The result is valid if a is.
func Of(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// Number is Of as a number, for maps. It is different for all addresses that Of tells
// apart, except for those of ffff:ffff::/32, which nobody has (RFC 4291 §2.4).
func Number(a netip.Addr) uint64 {
	b := a.As16()
	if a.Is4() || a.Is4In6() {
		return 0xffffffff<<32 | uint64(binary.BigEndian.Uint32(b[12:]))
	}
	return binary.BigEndian.Uint64(b[:])
}

// Find returns the first of networks that has a in it. IPv4 networks have IPv4-mapped
// IPv6 addresses in them, too; zones don't count. An invalid address is in none.
func Find(networks []netip.Prefix, a netip.Addr) (netip.Prefix, bool) {
	a = a.Unmap().WithZone("")
	for _, p := range networks {
		if p.Contains(a) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
