// Package proxyproto reads and writes the headers of the PROXY protocol, versions 1 and
// 2, with which a proxy says at the beginning of a connection who its client is. The
// section numbers are those of
// https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt.
//
// It works on bytes and reads no connection, so that it can be used on an event loop.
// Parse may be called again whenever more bytes have come, and allocates nothing for
// version 2. That is why it isn't github.com/pires/go-proxyproto, which reads a
// bufio.Reader, refuses a line that doesn't come in one piece, and copies what it reads;
// the tests compare the two. Whom to believe is up to the caller.
package proxyproto

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
)

// Version is one of Off, V1 and V2.
type Version uint8

// Versions of the protocol.
const (
	Off Version = iota // no header
	V1                 // a line of text
	V2                 // binary
)

// MaxSize is the longest header that Parse accepts, in bytes. One of version 1 has at
// most 107 (§2.1). Those of version 2 may have 65,551, but those in use are far below
// this, even if they carry a certificate.
const MaxSize = 4 << 10

const (
	maxV1    = 107
	prefixV1 = "PROXY"
	// signature can't be the beginning of HTTP, TLS or version 1 (§2.2).
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	fixedV2   = len(signature) + 4
)

// Header is what a header says. Its slices are of the bytes that were parsed.
type Header struct {
	Version Version
	// Local means that the proxy has opened the connection by itself, for example to
	// check health. Then there is nothing else.
	Local bool
	// Source is the client, and Destination what it connected to. Both are invalid if
	// the proxy doesn't say, as for a client of a unix socket.
	Source, Destination netip.AddrPort
	// TLS means that the client spoke TLS to the proxy. TLSVersion is for example
	// "TLSv1.3", and Cipher the suite.
	TLS                bool
	TLSVersion, Cipher []byte
	// Certificate means that the client has shown a certificate, and the proxy has
	// verified it. CommonName is that of its subject.
	Certificate bool
	CommonName  []byte
	// ServerName is the name that the client asked for, and Protocol what was chosen by
	// ALPN.
	ServerName, Protocol []byte
}

// Looks reports whether b begins with what only a header begins with. It needs six bytes
// of it.
func Looks(b []byte) bool {
	return len(b) > len(prefixV1) && (begins(b, prefixV1+" ") || begins(b, signature))
}

// begins reports whether one of b and s begins with the other.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

var (
	errNoHeader = errors.New("it doesn't begin with a PROXY protocol header")
	errTooLong  = errors.New("its PROXY protocol header is too long")
)

// broken is an error about a header. why must not have unescaped bytes of it.
func broken(why string) error { return errors.New("its PROXY protocol header is malformed: " + why) }

// Parse reads the header at the beginning of b into h. size is its length in bytes, or 0
// while it isn't complete. After an error, nothing that follows can help.
func Parse(b []byte, h *Header) (size int, err error) {
	*h = Header{}
	switch {
	case len(b) == 0:
		return 0, nil
	case begins(b, signature):
		if len(b) < fixedV2 {
			return 0, nil
		}
		return parseV2(b, h)
	case begins(b, prefixV1+" "):
		return parseV1(b, h)
	}
	return 0, errNoHeader
}

func parseV1(b []byte, h *Header) (size int, err error) {
	end := bytes.IndexByte(b[:min(len(b), maxV1)], '\n')
	if end < 0 {
		if len(b) >= maxV1 {
			return 0, errTooLong
		}
		return 0, nil
	}
	if end == 0 || b[end-1] != '\r' {
		return 0, broken("the line does not end with CR LF")
	}
	line := b[:end-1]
	h.Version = V1
	word, rest, more := bytes.Cut(line[min(len(line), len(prefixV1)+1):], []byte{' '})
	switch string(word) {
	case "UNKNOWN": // what follows is ignored, §2.1
		return end + 1, nil
	case "TCP4", "TCP6":
	default:
		return 0, broken("it is neither TCP4 nor TCP6 nor UNKNOWN")
	}
	var parts [4][]byte
	for i := range parts {
		if !more {
			return 0, broken("an address or a port is missing")
		}
		parts[i], rest, more = bytes.Cut(rest, []byte{' '})
	}
	if more {
		return 0, broken("there is something after the ports")
	}
	is4 := word[3] == '4'
	for i, into := range []*netip.AddrPort{&h.Source, &h.Destination} {
		ip, err := netip.ParseAddr(string(parts[i]))
		// nginx writes IPv4 addresses after TCP6 if only one of the two is one.
		if err != nil || is4 && !ip.Is4() || ip.Zone() != "" {
			return 0, broken(fmt.Sprintf("%.45q is not an address of %s", parts[i], word))
		}
		port, ok := parsePort(parts[i+2])
		if !ok {
			return 0, broken(fmt.Sprintf("%.6q is not a port", parts[i+2]))
		}
		*into = netip.AddrPortFrom(ip.Unmap(), port)
	}
	return end + 1, nil
}

// parsePort reads a decimal number without leading zeros.
func parsePort(b []byte) (port uint16, ok bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n <= 65535
}
