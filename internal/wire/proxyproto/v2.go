package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// Commands, families and transports of version 2, §2.2.
const (
	version2 = 0x20
	cmdLocal = 0
	cmdProxy = 1

	familyUnspec = 0x00
	familyIPv4   = 0x10
	familyIPv6   = 0x20
	familyUnix   = 0x30

	transportUnspec = 0
	transportStream = 1

	sizeIPv4 = 2 * (4 + 2)
	sizeIPv6 = 2 * (16 + 2)
	sizeUnix = 2 * 108
)

// Types of the fields that follow the addresses, §2.2.
const (
	typeALPN      = 0x01
	typeAuthority = 0x02
	typeCRC32C    = 0x03
	typeSSL       = 0x20

	typeSSLVersion = 0x21
	typeSSLCN      = 0x22
	typeSSLCipher  = 0x23
)

// Bits of the first byte of the field SSL, §2.2.5.
const (
	sslClient   = 0x01 // the client spoke TLS
	sslCertConn = 0x02 // it has shown a certificate on this connection
	sslCertSess = 0x04 // or in an earlier one that was resumed
	sslMinimum  = 1 + 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      = make([]byte, 4)
)

// parseV2 is called with at least fixedV2 bytes.
func parseV2(b []byte, h *Header) (size int, err error) {
	const afterSignature = len(signature)
	command, kind := b[afterSignature], b[afterSignature+1]
	size = fixedV2 + int(binary.BigEndian.Uint16(b[afterSignature+2:]))
	switch {
	case command != version2|cmdLocal && command != version2|cmdProxy:
		return 0, broken("neither the version 2 nor one of its commands")
	case size > MaxSize:
		return 0, errTooLong
	case len(b) < size:
		return 0, nil
	}
	h.Version = V2
	if command == version2|cmdLocal {
		h.Local = true // whatever follows is to be skipped
		return size, nil
	}
	addresses, rest := 0, b[fixedV2:size]
	family, transport := kind&0xf0, kind&0x0f
	switch family {
	case familyUnspec:
	case familyIPv4:
		addresses = sizeIPv4
	case familyIPv6:
		addresses = sizeIPv6
	case familyUnix:
		addresses = sizeUnix
	default:
		return 0, broken("an unknown family of addresses")
	}
	if family != familyUnspec && transport != transportStream || family == familyUnspec && transport > transportStream {
		return 0, broken("the client's connection is not a stream")
	}
	if len(rest) < addresses {
		return 0, broken("it is too short for its addresses")
	}
	switch family {
	case familyIPv4:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[0:])), binary.BigEndian.Uint16(rest[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[4:])), binary.BigEndian.Uint16(rest[10:]))
	case familyIPv6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[0:])).Unmap(), binary.BigEndian.Uint16(rest[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[16:])).Unmap(), binary.BigEndian.Uint16(rest[34:]))
	}
	return size, h.fields(b[:size], fixedV2+addresses)
}

// fields reads the fields of a header, which begin at an offset. Unknown ones are
// skipped, and of several with the same type the first counts.
func (h *Header) fields(header []byte, at int) error {
	for at < len(header) {
		kind, value, next, ok := field(header, at)
		if !ok {
			return broken("its last field is cut off")
		}
		switch kind {
		case typeALPN:
			setFirst(&h.Protocol, value)
		case typeAuthority:
			setFirst(&h.ServerName, value)
		case typeCRC32C:
			if len(value) != 4 {
				return broken("a checksum of another length than 4")
			}
			if checksum(header, next-4) != binary.BigEndian.Uint32(value) {
				return broken("its checksum is wrong")
			}
		case typeSSL:
			if err := h.ssl(value); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

func (h *Header) ssl(value []byte) error {
	if len(value) < sslMinimum {
		return broken("its field about TLS is too short")
	}
	flags, verified := value[0], binary.BigEndian.Uint32(value[1:]) == 0
	var version, cipher, name []byte
	for at := sslMinimum; at < len(value); {
		kind, part, next, ok := field(value, at)
		if !ok {
			return broken("its field about TLS is cut off")
		}
		switch kind {
		case typeSSLVersion:
			setFirst(&version, part)
		case typeSSLCipher:
			setFirst(&cipher, part)
		case typeSSLCN:
			setFirst(&name, part)
		}
		at = next
	}
	if h.TLS || flags&sslClient == 0 {
		return nil
	}
	h.TLS, h.TLSVersion, h.Cipher = true, version, cipher
	if verified && flags&(sslCertConn|sslCertSess) != 0 {
		h.Certificate, h.CommonName = true, name
	}
	return nil
}

func setFirst(to *[]byte, value []byte) {
	if *to == nil {
		*to = value
	}
}

// field reads the field of b at an offset.
func field(b []byte, at int) (kind byte, value []byte, next int, ok bool) {
	if len(b)-at < 3 {
		return 0, nil, 0, false
	}
	n := int(binary.BigEndian.Uint16(b[at+1:]))
	if next = at + 3 + n; next > len(b) {
		return 0, nil, 0, false
	}
	return b[at], b[at+3 : next : next], next, true
}

// checksum is that of a header whose checksum is at an offset, where it counts as zero.
func checksum(header []byte, at int) uint32 {
	c := crc32.Update(0, castagnoli, header[:at])
	c = crc32.Update(c, castagnoli, zeros)
	return crc32.Update(c, castagnoli, header[at+4:])
}
