// Package forwarded tells a backend whom it is really serving, in the
// X-Forwarded-* fields that most servers read and in Forwarded (RFC 7239), and
// decides what of such fields to believe.
//
// From a peer that is not trusted nothing is believed: its X-Forwarded-*,
// Forwarded and X-Real-IP are dropped and ours are set. A trusted peer is
// another proxy of the operator's:
//
//   - X-Forwarded-For and Forwarded are continued with the peer's address.
//     Forwarded that tells of other hops than X-Forwarded-For is not believed
//     but made anew from it: most proxies maintain X-Forwarded-For alone and
//     let through whatever Forwarded a client thought up. Where only one of
//     the two came, the other is made from it (RFC 7239 §7.4).
//   - X-Forwarded-Proto, -Host and -Port are kept where they are well-formed.
//   - X-Real-IP is kept where it is an address, and other X-Forwarded-* as
//     they are.
//
// Of a list that is malformed, what stands right of the last malformed member
// is kept: that is what proxies appended to a client's invention. No malformed
// member passes through. X-Forwarded-Proto is always http or https, for a
// WebSocket too, as servers expect from nginx and from cloud balancers.
package forwarded

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/httphead"
)

// Policy says whom to believe. The zero value believes nobody.
type Policy struct {
	// Trust lists the networks of proxies whose fields are believed. IPv4
	// prefixes hold for IPv4-mapped IPv6 addresses, too.
	Trust []netip.Prefix
}

// Hop is the connection a request came by.
type Hop struct {
	Peer  netip.AddrPort // who connected
	Local netip.AddrPort // where it connected to
	Host  []byte         // the host that was asked for, with its port if it had one
	Proto string         // "http" or "https"
}

// Owns tells whether the fields of that name are this package's: they are left
// out where other fields are copied, and AppendHeaders or SetHeaders sets those
// that are to be there.
func Owns(name []byte) bool {
	const prefix = "x-forwarded-"
	return len(name) >= len(prefix) && httphead.EqualFold(name[:len(prefix)], prefix) ||
		httphead.EqualFold(name, "forwarded") || httphead.EqualFold(name, "x-real-ip")
}

// Trusts tells whether addr is a trusted proxy's.
func (p *Policy) Trusts(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range p.Trust {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// ClientAddr is the address of the client as far as it can be believed: the
// peer's, or, where that is trusted, the first address from the right of what
// the trusted proxies reported that is not itself trusted. The port is 0 where
// it was not reported.
func (p *Policy) ClientAddr(in httphead.Fields, peer netip.AddrPort) netip.AddrPort {
	client := plain(peer)
	if !p.Trusts(client.Addr()) {
		return client
	}
	var c chain
	c.read(in)
	for i := len(c.nodes()) - 1; i >= 0; i-- {
		node := c.nodes()[i].addr
		if !node.IsValid() {
			break // "unknown": who was before it cannot be told
		}
		client = node
		if !p.Trusts(node.Addr()) {
			break
		}
	}
	return client
}

// ClientAddrOf is ClientAddr for a header of net/http.
func (p *Policy) ClientAddrOf(in http.Header, peer netip.AddrPort) netip.AddrPort {
	return p.ClientAddr(ownedFields(in), peer)
}

// IsHTTPS tells whether the client spoke TLS, to us or, where it is believed,
// to a proxy in front of us.
func (p *Policy) IsHTTPS(in httphead.Fields, h Hop) bool {
	var told origin
	if p.Trusts(h.Peer.Addr()) {
		var c chain
		c.read(in)
		told = readOrigin(in, &c)
	}
	return orString(told.proto, h.Proto) == "https"
}

// IsHTTPSOf is IsHTTPS for a header of net/http.
func (p *Policy) IsHTTPSOf(in http.Header, h Hop) bool { return p.IsHTTPS(ownedFields(in), h) }

// AppendHeaders appends the header lines that tell a backend about a request
// with the fields in that came by h, each ended by CR LF.
func (p *Policy) AppendHeaders(dst []byte, in httphead.Fields, h Hop) []byte {
	var (
		c       chain
		told    origin
		own     = origin{proto: "http", host: h.Host}
		trusted = p.Trusts(h.Peer.Addr())
	)
	if h.Proto == "https" {
		own.proto = "https"
	}
	if !httphead.ValidHost(own.host) {
		own.host = nil
	}
	if trusted {
		c.read(in)
		told = readOrigin(in, &c)
	}
	peer := plain(h.Peer).Addr()

	dst = append(dst, "X-Forwarded-For: "...)
	dst = c.appendFor(dst)
	dst = peer.AppendTo(dst)
	dst = append(dst, "\r\nX-Forwarded-Proto: "...)
	dst = append(dst, orString(told.proto, own.proto)...)
	if host := orBytes(told.host, own.host); host != nil {
		dst = append(dst, "\r\nX-Forwarded-Host: "...)
		dst = append(dst, host...)
	}
	dst = append(dst, "\r\nX-Forwarded-Port: "...)
	dst = told.appendPort(dst, own.proto, h.Local.Port())
	dst = append(dst, "\r\nForwarded: "...)
	dst = c.appendForwarded(dst, told)
	dst = appendElement(dst, peer, own)
	dst = append(dst, "\r\n"...)
	if trusted {
		dst = appendOthers(dst, in)
	}
	return dst
}

// SetHeaders does for net/http what AppendHeaders does for a raw head: in is
// the header that came, out the one for the backend, of which all fields that
// the package owns are replaced. in and out may be the same.
func (p *Policy) SetHeaders(out, in http.Header, h Hop) {
	lines := p.AppendHeaders(nil, ownedFields(in), h)
	for name := range out {
		if Owns([]byte(name)) {
			delete(out, name)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(lines), "\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		name = textproto.CanonicalMIMEHeaderKey(name)
		out[name] = append(out[name], value)
	}
}

// ownedFields are the fields of h that the package reads.
func ownedFields(h http.Header) (fields httphead.Fields) {
	for name, values := range h {
		if !Owns([]byte(name)) {
			continue
		}
		for _, value := range values {
			fields = append(fields, httphead.Field{Name: []byte(name), Value: []byte(value)})
		}
	}
	return fields
}

// plain strips from an address what only this machine can make sense of: the
// IPv4-mapped form a dual-stack socket reports, and the zone.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// appendOthers appends what a trusted peer sent of the fields that are neither
// continued nor decided upon.
func appendOthers(dst []byte, in httphead.Fields) []byte {
	for _, field := range in {
		if !Owns(field.Name) || decided(field.Name) {
			continue
		}
		if httphead.EqualFold(field.Name, "x-real-ip") {
			node, ok := parseNode(field.Value)
			if !ok || !node.IsValid() || in.Count("x-real-ip") > 1 {
				continue
			}
		}
		dst = append(dst, field.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, field.Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func decided(name []byte) bool {
	for _, ours := range [...]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"} {
		if httphead.EqualFold(name, ours) {
			return true
		}
	}
	return false
}

// origin is how a request was made in the first place, as far as known.
type origin struct {
	proto string
	host  []byte
	port  []byte
}

// readOrigin reads X-Forwarded-Proto, -Host and -Port, and the first hop's
// Forwarded for what is not there. Proto and host of a Forwarded that is not
// believed are not read.
func readOrigin(in httphead.Fields, c *chain) (o origin) {
	if value, ok := only(in, "x-forwarded-proto"); ok {
		o.proto = parseProto(value)
	}
	if value, ok := only(in, "x-forwarded-host"); ok && httphead.ValidHost(value) {
		o.host = value
	}
	if value, ok := only(in, "x-forwarded-port"); ok && validPort(value) {
		o.port = value
	}
	o.proto = orString(o.proto, c.reported.proto)
	o.host = orBytes(o.host, c.reported.host)
	return o
}

// appendPort appends the port of the origin. Where the peer told the scheme or
// the host but no port, that is the host's, or the scheme's default one: the
// port of our own listener, behind that peer, would make for wrong links.
func (o *origin) appendPort(dst []byte, scheme string, local uint16) []byte {
	inHost := httphead.Port(o.host)
	switch {
	case o.port != nil:
		return append(dst, o.port...)
	case inHost != nil:
		return append(dst, inHost...)
	case o.host == nil && o.proto == "":
		return strconv.AppendUint(dst, uint64(local), 10)
	case orString(o.proto, scheme) == "https":
		return append(dst, "443"...)
	}
	return append(dst, "80"...)
}

// parseProto maps the schemes to http and https; some proxies send ws and wss.
func parseProto(value []byte) string {
	switch {
	case httphead.EqualFold(value, "http"), httphead.EqualFold(value, "ws"):
		return "http"
	case httphead.EqualFold(value, "https"), httphead.EqualFold(value, "wss"):
		return "https"
	}
	return ""
}

func validPort(value []byte) bool {
	n, err := strconv.ParseUint(string(value), 10, 16)
	return err == nil && n > 0 && len(value) <= len("65535")
}

// only returns the value of the one field of that name.
func only(in httphead.Fields, name string) ([]byte, bool) {
	if in.Count(name) != 1 {
		return nil, false
	}
	return in.Get(name)
}

func orString(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func orBytes(a, b []byte) []byte {
	if a != nil {
		return a
	}
	return b
}
