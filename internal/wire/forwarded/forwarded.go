// Package forwarded tells a backend which client it serves, in the X-Forwarded-* fields
// that most servers read, in Forwarded (RFC 7239) or in X-Real-IP. It also decides which
// of such fields in a request to believe.
//
// Nothing from an untrusted peer is believed: its X-Forwarded-*, Forwarded and X-Real-IP
// are replaced by ours, and names that servers could confuse with them (X_Forwarded_For)
// are dropped. A trusted peer is another proxy of the same operator:
//
//   - The peer's address is appended to X-Forwarded-For and Forwarded. If Forwarded has
//     other hops than X-Forwarded-For, it isn't believed but replaced: most proxies
//     maintain only X-Forwarded-For and pass on any Forwarded that a client sends. If
//     only one of the two came, the other is made from it (RFC 7239 §7.4).
//   - X-Forwarded-Proto, -Host and -Port are kept if they are well-formed. If several
//     proxies have each added a value, the first counts: it is from the proxy nearest
//     to the client.
//   - X-Forwarded-Prefix goes before the one of ours, since its proxy was there first.
//   - X-Real-IP is kept if it is an address, and other X-Forwarded-* unchanged.
//
// A Policy says which of these fields a backend gets.
//
// From a malformed list, what follows the last malformed member is kept: proxies have
// appended that to whatever the client sent. No malformed member is passed on.
// X-Forwarded-Proto is always http or https, for WebSockets too, as servers know it from
// nginx and cloud balancers.
package forwarded

import (
	"bytes"
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Policy says which proxies to believe, and which fields backends get. The zero value believes
// nobody, and sends only X-Forwarded-*.
type Policy struct {
	// Trust lists the networks of proxies whose fields are believed. IPv4 prefixes
	// match IPv4-mapped IPv6 addresses, too.
	Trust []netip.Prefix
	// TrustUnix believes peers that come by a unix socket: hostport.UnixPeer.
	TrustUnix bool

	// NoXForwarded sends no X-Forwarded-* at all.
	NoXForwarded bool
	// Forwarded sends Forwarded. Otherwise a trusted proxy's is read but not passed
	// on, since it would lack a hop.
	Forwarded bool
	// Via adds a Via field.
	Via bool
	// XRealIP sends ClientAddr as X-Real-IP. Otherwise a trusted proxy's is passed
	// on.
	XRealIP bool
	// Except reports whether fields of a name are never passed on, since something
	// else sets them; nil means that there are none.
	Except func(name []byte) bool
}

// Hop is the connection that a request came on.
type Hop struct {
	Peer  netip.AddrPort // remote address
	Local netip.AddrPort // local address
	Host  []byte         // the requested host, with its port if it had one
	Proto string         // "http" or "https"
	// Prefix was cut off the path of the request, so that the backend doesn't see it;
	// "" is none.
	Prefix string
	// Edits changes other X-Forwarded-* than those of this package; nil changes none.
	Edits *headeredit.Edits
}

// IsReserved reports whether a field of that name is set by this package, or a server
// could confuse it with one that is (X_Forwarded_For). Such fields must not be copied to a
// backend; AppendHeaders or SetHeaders sets those that a backend gets.
func IsReserved(name []byte) bool {
	return httphead.ResemblesPrefix(name, "x-forwarded-") || httphead.Resembles(name, "forwarded") || httphead.Resembles(name, "x-real-ip")
}

// spelledExactly reports whether a reserved name has its correct spelling. Others are
// never read or passed on, whoever sent them: no proxy writes X_Forwarded_For.
func spelledExactly(name []byte) bool {
	const prefix = "x-forwarded-"
	return len(name) > len(prefix) && httphead.EqualFold(name[:len(prefix)], prefix) && httphead.IsPlainName(name) ||
		httphead.EqualFold(name, "x-real-ip")
}

// Trusts reports whether addr is that of a trusted proxy.
func (p *Policy) Trusts(addr netip.Addr) bool {
	_, ok := clientprefix.Find(p.Trust, addr)
	return ok
}

// TrustsPeer is Trusts for the other end of a connection.
func (p *Policy) TrustsPeer(peer netip.AddrPort) bool {
	return p.TrustUnix && peer == hostport.UnixPeer || p.Trusts(peer.Addr())
}

// ClientAddr is the client's address as far as it can be believed: the peer's, or if that
// is trusted, the first address from the right, among those that the trusted proxies
// reported, that isn't trusted itself. The port is 0 if it wasn't reported.
func (p *Policy) ClientAddr(in httphead.Fields, peer netip.AddrPort) netip.AddrPort {
	client := normalize(peer)
	if !p.TrustsPeer(client) {
		return client
	}
	var c chain
	c.read(in)
	return p.client(&c, client)
}

// client is ClientAddr for what a trusted peer reported.
func (p *Policy) client(c *chain, peer netip.AddrPort) netip.AddrPort {
	client := peer
	for i := len(c.nodes()) - 1; i >= 0; i-- {
		node := c.nodes()[i].addr
		if !node.IsValid() {
			break // "unknown": the hops before it can't be known
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
	return p.ClientAddr(reservedFields(in), peer)
}

// ClientHost is the host that the client asked for: Host of h, or if its peer is trusted,
// the one that it reports, if it does. It is valid by httphead.ValidHost, or nil.
func (p *Policy) ClientHost(in httphead.Fields, h Hop) []byte {
	var told origin
	if p.TrustsPeer(h.Peer) {
		var c chain
		c.read(in)
		told = readOrigin(in, &c)
	}
	if told.host == nil && httphead.ValidHost(h.Host) {
		return h.Host
	}
	return told.host
}

// IsHTTPS reports whether the client used TLS, to us or, if that is believed, to a proxy
// in front of us.
func (p *Policy) IsHTTPS(in httphead.Fields, h Hop) bool {
	var told origin
	if p.TrustsPeer(h.Peer) {
		var c chain
		c.read(in)
		told = readOrigin(in, &c)
	}
	return orString(told.proto, h.Proto) == "https"
}

// IsHTTPSOf is IsHTTPS for a header of net/http.
func (p *Policy) IsHTTPSOf(in http.Header, h Hop) bool { return p.IsHTTPS(reservedFields(in), h) }

// AppendHeaders appends the header lines that describe the client to a backend, each ended
// by CR LF, for a request with the fields in that came on h.
func (p *Policy) AppendHeaders(dst []byte, in httphead.Fields, h Hop) []byte {
	var (
		c       chain
		told    origin
		own     = origin{proto: "http", host: h.Host}
		trusted = p.TrustsPeer(h.Peer)
	)
	if h.Proto == "https" {
		own.proto = "https"
	}
	if !httphead.ValidHost(own.host) {
		own.host = nil
	}
	own.host = bytes.TrimSuffix(own.host, []byte{':'}) // an empty port has no meaning (RFC 3986 §6.2.3)
	if trusted {
		c.read(in)
		told = readOrigin(in, &c)
	}
	peer := normalize(h.Peer).Addr()

	if !p.NoXForwarded {
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
		dst = told.appendPort(dst, own, h.Local.Port())
		dst = append(dst, "\r\n"...)
		if h.Prefix != "" {
			dst = append(dst, "X-Forwarded-Prefix: "...)
			if trusted {
				dst = append(dst, outerPrefix(in)...)
			}
			dst = append(append(dst, h.Prefix...), "\r\n"...)
		}
	}
	if p.Forwarded {
		dst = append(dst, "Forwarded: "...)
		dst = c.appendForwarded(dst, told)
		dst = appendElement(dst, peer, own)
		dst = append(dst, "\r\n"...)
	}
	if p.XRealIP {
		dst = append(dst, "X-Real-IP: "...)
		dst = p.client(&c, normalize(h.Peer)).Addr().AppendTo(dst)
		dst = append(dst, "\r\n"...)
	}
	if trusted {
		dst = p.appendOthers(dst, in, h)
	}
	return dst
}

// SetHeaders is AppendHeaders for net/http: in is the received header, and all reserved
// fields of out, the backend's, are replaced. in and out may be the same.
func (p *Policy) SetHeaders(out, in http.Header, h Hop) {
	lines := p.AppendHeaders(nil, reservedFields(in), h)
	for name := range out {
		if IsReserved([]byte(name)) {
			delete(out, name)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(lines), "\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		name = textproto.CanonicalMIMEHeaderKey(name)
		out[name] = append(out[name], value)
	}
}

// reservedFields returns the reserved fields of h.
func reservedFields(h http.Header) (fields httphead.Fields) {
	for name, values := range h {
		if !IsReserved([]byte(name)) {
			continue
		}
		for _, value := range values {
			fields = append(fields, httphead.Field{Name: []byte(name), Value: []byte(value)})
		}
	}
	return fields
}

// normalize removes from an address what has a meaning only on this machine: the
// IPv4-mapped form of a dual-stack socket, and the zone.
func normalize(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// appendOthers appends those fields of a trusted peer that are passed on unchanged.
func (p *Policy) appendOthers(dst []byte, in httphead.Fields, h Hop) []byte {
	for _, field := range in {
		if !spelledExactly(field.Name) || isHandled(field.Name) || p.Except != nil && p.Except(field.Name) || h.Edits.Drops(field.Name) {
			continue
		}
		if h.Prefix != "" && httphead.EqualFold(field.Name, "x-forwarded-prefix") {
			continue
		}
		if httphead.EqualFold(field.Name, "x-real-ip") {
			node, ok := parseNode(field.Value)
			if !ok || !node.IsValid() || in.Count("x-real-ip") > 1 || p.XRealIP {
				continue
			}
		} else if p.NoXForwarded {
			continue
		}
		dst = append(dst, field.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, field.Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// outerPrefix is the X-Forwarded-Prefix of a trusted peer without the slash at its end;
// nil unless there is one, and it is a plain path.
func outerPrefix(in httphead.Fields) []byte {
	value, _ := in.Get("x-forwarded-prefix")
	if in.Count("x-forwarded-prefix") != 1 {
		return nil
	}
	if _, err := pattern.ParsePath(string(value)); err != nil {
		return nil
	}
	return bytes.TrimSuffix(value, []byte{'/'})
}

func isHandled(name []byte) bool {
	for _, ours := range [...]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"} {
		if httphead.EqualFold(name, ours) {
			return true
		}
	}
	return false
}

// origin is how the client made the request, as far as known.
type origin struct {
	proto string
	host  []byte
	port  []byte
}

// readOrigin reads X-Forwarded-Proto, -Host and -Port, and for those that are missing the
// first element of Forwarded, if that is believed.
func readOrigin(in httphead.Fields, c *chain) (o origin) {
	o.proto = parseProto(first(in, "x-forwarded-proto"))
	if value := first(in, "x-forwarded-host"); httphead.ValidHost(value) {
		o.host = bytes.TrimSuffix(value, []byte{':'})
	}
	if value := first(in, "x-forwarded-port"); validPort(value) {
		o.port = value
	}
	o.proto = orString(o.proto, c.reported.proto)
	o.host = orBytes(o.host, c.reported.host)
	return o
}

// appendPort appends the port of the origin: the reported one, or the one in the requested
// host. If the peer reported the scheme or the host but no port, it is the scheme's
// default: the port of our own listener, behind that peer, would make wrong links. A unix
// socket has none.
func (o *origin) appendPort(dst []byte, own origin, local uint16) []byte {
	host := orBytes(o.host, own.host)
	switch port := httphead.Port(host); {
	case o.port != nil:
		return append(dst, o.port...)
	case port != nil:
		return append(dst, port...)
	case o.host == nil && o.proto == "" && local != 0:
		return strconv.AppendUint(dst, uint64(local), 10)
	case orString(o.proto, own.proto) == "https":
		return append(dst, "443"...)
	}
	return append(dst, "80"...)
}

// parseProto maps schemes to http and https; some proxies send ws and wss.
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

// first returns the first value of the fields of that name, each of which may be a list;
// nil if there is none. Proxies that add their own value append it.
func first(in httphead.Fields, name string) []byte {
	for list := range in.Values(name) {
		if member, _ := cutComma(list); member != nil {
			return member
		}
	}
	return nil
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
