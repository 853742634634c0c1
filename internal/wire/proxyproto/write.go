package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Client is what a header says of a client.
type Client struct {
	// Source is the client; invalid if it isn't known. Destination is what it connected
	// to; if that is invalid, the address with nothing but zeros stands for it.
	Source, Destination netip.AddrPort
	// TLS is nil for a client that doesn't speak TLS. Version 1 doesn't say.
	TLS *TLS
}

// TLS is what a header says of a client's TLS. Texts that are "" are left out.
type TLS struct {
	Version, Cipher      string // such as "TLSv1.3", "ECDHE-RSA-AES128-GCM-SHA256"
	ServerName, Protocol string
	// Certificate means that the client has shown a certificate, which was verified, on
	// this connection or, if that is Resumed, on an earlier one. CommonName is that of
	// its subject.
	Certificate, Resumed bool
	CommonName           string
}

// maxText bounds the texts of a header, in bytes, so that it stays below MaxSize and 536
// bytes, which fit into any packet (§2), if names are as long as they are in practice.
const maxText = 255

// Append appends the header of a version about c; nothing with Off.
func Append(dst []byte, v Version, c *Client) []byte {
	src, to := c.Source, c.Destination
	if src.IsValid() {
		src, to = sameFamily(src, to)
	}
	switch v {
	case V1:
		return appendV1(dst, src, to)
	case V2:
		return appendV2(dst, src, to, c.TLS)
	}
	return dst
}

// AppendLocal appends the header for a connection of our own, such as a health check's.
// Version 1 only has one for unknown clients.
func AppendLocal(dst []byte, v Version) []byte {
	switch v {
	case V1:
		return append(dst, "PROXY UNKNOWN\r\n"...)
	case V2:
		dst = append(dst, signature...)
		return append(dst, version2|cmdLocal, familyUnspec|transportUnspec, 0, 0)
	}
	return dst
}

// sameFamily returns both addresses without zones, as IPv4 if both are, otherwise as
// IPv6.
func sameFamily(src, to netip.AddrPort) (_, _ netip.AddrPort) {
	a, b := src.Addr().Unmap().WithZone(""), to.Addr().Unmap().WithZone("")
	switch {
	case !b.IsValid() && a.Is4():
		b = netip.IPv4Unspecified()
	case !b.IsValid():
		b = netip.IPv6Unspecified()
	case a.Is4() != b.Is4():
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	return netip.AddrPortFrom(a, src.Port()), netip.AddrPortFrom(b, to.Port())
}

func appendV1(dst []byte, src, to netip.AddrPort) []byte {
	if !src.IsValid() {
		return AppendLocal(dst, V1)
	}
	word := "PROXY TCP6 "
	if src.Addr().Is4() {
		word = "PROXY TCP4 "
	}
	dst = append(dst, word...)
	dst = append(src.Addr().AppendTo(dst), ' ')
	dst = append(to.Addr().AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(src.Port()), 10), ' ')
	dst = strconv.AppendUint(dst, uint64(to.Port()), 10)
	return append(dst, "\r\n"...)
}

func appendV2(dst []byte, src, to netip.AddrPort, t *TLS) []byte {
	begin := len(dst)
	dst = append(dst, signature...)
	kind := byte(familyUnspec | transportUnspec)
	switch {
	case src.Addr().Is4():
		kind = familyIPv4 | transportStream
	case src.IsValid():
		kind = familyIPv6 | transportStream
	}
	dst = append(dst, version2|cmdProxy, kind, 0, 0)
	if src.IsValid() {
		dst = append(dst, src.Addr().AsSlice()...)
		dst = append(dst, to.Addr().AsSlice()...)
		dst = binary.BigEndian.AppendUint16(dst, src.Port())
		dst = binary.BigEndian.AppendUint16(dst, to.Port())
	}
	if t != nil {
		dst = t.append(dst)
	}
	binary.BigEndian.PutUint16(dst[begin+len(signature)+2:], uint16(len(dst)-begin-fixedV2))
	return dst
}

func (t *TLS) append(dst []byte) []byte {
	dst = appendText(dst, typeALPN, t.Protocol)
	dst = appendText(dst, typeAuthority, t.ServerName)
	dst = append(dst, typeSSL, 0, 0)
	begin := len(dst)
	// The second part is 0 only for a certificate that was verified.
	flags, unverified := byte(sslClient), uint32(1)
	if t.Certificate {
		flags, unverified = flags|sslCertSess, 0
		if !t.Resumed {
			flags |= sslCertConn
		}
	}
	dst = binary.BigEndian.AppendUint32(append(dst, flags), unverified)
	dst = appendText(dst, typeSSLVersion, t.Version)
	if t.Certificate {
		dst = appendText(dst, typeSSLCN, t.CommonName)
	}
	dst = appendText(dst, typeSSLCipher, t.Cipher)
	binary.BigEndian.PutUint16(dst[begin-2:], uint16(len(dst)-begin))
	return dst
}

func appendText(dst []byte, kind byte, text string) []byte {
	if text == "" {
		return dst
	}
	text = text[:min(len(text), maxText)]
	dst = append(dst, kind, 0, byte(len(text)))
	return append(dst, text...)
}
