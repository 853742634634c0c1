// Package requestkey makes a number of what a request says: of the parts a
// hash key is joined from, and of the token that a session is known by.
//
// The same request gives the same number in every process of any version,
// since two balancers with the same file must choose alike. Hence no random
// seed: a client may search for a request that leads to the backend it likes,
// as it could with any key it has in its own hands. What it cannot do is get
// past a backend's bounds, which are the picker's business.
//
// Nothing here allocates, and all cost is linear in the length of the head.
package requestkey

import (
	"encoding/binary"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Request is what a key is read from.
type Request interface {
	// ClientIP is the client's address, as far as it can be believed; the zero
	// Addr where it is not known.
	ClientIP() netip.Addr

	// Path is the path as it came, with its escapes and without the query.
	Path() []byte

	// Query is the query as it came, with or without its question mark.
	Query() []byte

	// Header returns the value of the first field of that name, which is given
	// in lower case.
	Header(name string) ([]byte, bool)
}

// Hash joins all parts. A part that is not there differs from one that is
// empty, and no part can pass for the end of one and the beginning of the
// next. It is false where none of the parts is there.
func Hash(parts []Part, r Request) (uint64, bool) {
	var (
		d    digest
		buf  addrBuf
		some bool
	)
	d.xx.Reset()
	for _, p := range parts {
		v, ok := p.find(r, &buf)
		d.add(v, ok)
		some = some || ok
	}
	return d.xx.Sum64(), some
}

// First hashes the first of the parts that is there and not empty; it is false
// where none is. Only the value counts: a token is the same one whether it came
// in the query or in a cookie.
func First(parts []Part, r Request) (uint64, bool) {
	var buf addrBuf
	for _, p := range parts {
		if v, ok := p.find(r, &buf); ok && len(v.raw) > 0 {
			var d digest
			d.xx.Reset()
			v.hash(&d)
			return d.xx.Sum64(), true
		}
	}
	return 0, false
}

// digest is a hash of values with what keeps them apart.
type digest struct {
	xx      xxhash.Digest
	written uint64 // bytes of the current value
}

func (d *digest) write(b []byte) {
	d.written += uint64(len(b))
	_, _ = d.xx.Write(b) // never fails
}

// add ends each value with its length and a mark, rather than beginning it so,
// because the length is known only once the value is decoded. Read from its
// end, the sum of values is as unambiguous.
func (d *digest) add(v value, there bool) {
	if !there {
		_, _ = d.xx.Write([]byte{0})
		return
	}
	d.written = 0
	v.hash(d)
	var end [9]byte
	binary.LittleEndian.PutUint64(end[:], d.written)
	end[8] = 1
	_, _ = d.xx.Write(end[:])
}

// addrBuf is room for a client's address.
type addrBuf [8]byte

// set puts in the part of addr by which clients are told apart: the whole of an
// IPv4 address, the first 64 bits of an IPv6 one. The rest a client chooses
// itself, and changes daily (RFC 8981).
func (b *addrBuf) set(addr netip.Addr) []byte {
	addr = addr.Unmap()
	switch {
	case addr.Is4():
		a := addr.As4()
		return b[:copy(b[:], a[:])]
	case addr.Is6():
		a := addr.As16()
		return b[:copy(b[:], a[:])]
	}
	return nil
}
