// Package requestkey computes numbers from requests: a hash over the parts that form a
// hash key, and one over the token that identifies a session.
//
// The same request gives the same number in every process and version, since two
// balancers with the same configuration must choose the same backend. Therefore there
// is no random seed. A client may search for a request that leads to the backend it
// likes, as with any key it controls; the limits of backends still hold.
//
// Nothing here allocates, and the cost is linear in the length of the head.
package requestkey

import (
	"encoding/binary"
	"net/netip"

	"github.com/cespare/xxhash/v2"

	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
)

// Request is the request that a key is computed from.
type Request interface {
	// ClientIP is the client's address, as far as it can be believed; the zero Addr
	// if it isn't known.
	ClientIP() netip.Addr

	// Path is the path as received, with its escapes and without the query.
	Path() []byte

	// Query is the query as received, with or without its question mark.
	Query() []byte

	// Header returns the value of the i-th field of that name, counted from 0. The
	// name is given in lower case. ok is false if there is none.
	Header(name string, i int) ([]byte, bool)

	// Claim returns a claim of the client's token, if that was verified; see package
	// session/claims.
	Claim(name string) (value string, ok bool)
}

// Hash hashes all parts together. A missing part differs from an empty one, and values
// can't run into each other. It reports false if all parts are missing or empty: clients
// without a value would otherwise all meet on one backend.
func Hash(parts []Part, r Request) (uint64, bool) {
	var (
		d    digest
		buf  addrBuf
		some bool
	)
	d.xx.Reset()
	for _, p := range parts {
		v, ok := p.find(r, &buf)
		d.add(v, r, ok)
		some = some || ok && !v.isEmpty()
	}
	return d.xx.Sum64(), some
}

// First hashes the first of the parts that isn't missing or empty; it reports false if
// there is none. Only the value counts, so a token is the same in the query and in a
// cookie.
func First(parts []Part, r Request) (uint64, bool) {
	var buf addrBuf
	for _, p := range parts {
		if v, ok := p.find(r, &buf); ok && !v.isEmpty() {
			var d digest
			d.xx.Reset()
			v.hash(&d, r)
			return d.xx.Sum64(), true
		}
	}
	return 0, false
}

// digest is a hash of values, including what separates them.
type digest struct {
	xx      xxhash.Digest
	written uint64 // bytes of the current value
}

func (d *digest) write(b []byte) {
	d.written += uint64(len(b))
	_, _ = d.xx.Write(b) // never fails
}

func (d *digest) writeString(s string) {
	d.written += uint64(len(s))
	_, _ = d.xx.WriteString(s)
}

// add ends each value with its length and a mark. They come after the value because the
// length is known only once the value is decoded. Read backwards, the input is
// unambiguous.
func (d *digest) add(v value, r Request, there bool) {
	if !there {
		_, _ = d.xx.Write([]byte{0})
		return
	}
	d.written = 0
	v.hash(d, r)
	var end [9]byte
	binary.LittleEndian.PutUint64(end[:], d.written)
	end[8] = 1
	_, _ = d.xx.Write(end[:])
}

// addrBuf has room for a client's address.
type addrBuf [8]byte

// set stores the part of addr that identifies the client: all of an IPv4 address, the
// first 64 bits of an IPv6 address. The client chooses the rest itself, and changes it
// daily (RFC 8981).
func (b *addrBuf) set(addr netip.Addr) []byte {
	addr = clientprefix.Of(addr)
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
