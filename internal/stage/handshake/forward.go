package handshake

import (
	"crypto/x509"
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// About is what a backend is told about the client.
type About struct {
	Forwarded *forwarded.Policy
	Hop       forwarded.Hop

	ClientCert  *clientcert.Policy
	Listener    string            // where the client came
	Certificate *x509.Certificate // the client's; nil if it has shown none

	Host []byte // instead of the request's; nil is that
	Path []byte // likewise
	// Fields are names and values of fields about the client that the auth stage has
	// found out; Reserved are the names of all such fields, which a client may not send.
	Fields   [][2]string
	Reserved interface{ Has(name []byte) bool }
	Changes
}

// Changes are fields that are changed in a message that is passed on. nil changes none.
type Changes struct {
	IDs *requestid.IDs // nil is none
	// Edits are made last, with the variables of Source.
	Edits  *headeredit.Edits
	Source headeredit.Source
	// SetCookie is the value of another Set-Cookie field of an answer; empty adds
	// none.
	SetCookie []byte
}

// replacesInAnswer reports whether a field of an answer isn't passed on.
func (c *Changes) replacesInAnswer(name []byte) bool {
	return c != nil && (c.Edits.Drops(name) || c.IDs != nil && c.IDs.ReplacesInAnswer(name))
}

// appendToAnswer appends the fields that an answer gets.
func (c *Changes) appendToAnswer(dst []byte) []byte {
	if c == nil {
		return dst
	}
	if c.IDs != nil {
		dst = c.IDs.AppendToAnswer(dst)
	}
	dst = c.Edits.Append(dst, c.Source)
	if len(c.SetCookie) > 0 {
		dst = append(dst, "Set-Cookie: "...)
		dst = append(append(dst, c.SetCookie...), "\r\n"...)
	}
	return dst
}

// AppendRequest appends the head of the request for the backend. That is the
// client's request with its target in origin-form and its Host. Hop-by-hop and
// reserved fields are replaced by the balancer's upgrade and forwarding fields, and
// those about the client and its certificate; about may have further changes. req must have
// passed Check or CheckOther, which filled in up. A body isn't appended.
func AppendRequest(dst []byte, req *httphead.Request, up *Upgrade, about *About) []byte {
	fw := about.Forwarded
	path, host := req.Path, req.Host
	if about.Path != nil {
		path = about.Path
	}
	if about.Host != nil {
		host = about.Host
	}
	dst = append(append(dst, req.Method...), ' ')
	dst = append(dst, path...)
	dst = append(dst, req.Query...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, "\r\nConnection: Upgrade\r\nUpgrade: "...)
	dst = append(up.appendProtocol(dst), "\r\n"...)
	if up.BodyLength > 0 {
		dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(up.BodyLength), 10)
		dst = append(dst, "\r\n"...)
	}
	named := namesFields(req.Fields)
	for i := range req.Fields {
		field := &req.Fields[i]
		if httphead.EqualFold(field.Name, "host") || forwarded.IsReserved(field.Name) || IsReserved(field.Name) ||
			about.ClientCert.IsReserved(field.Name) || about.Reserved != nil && about.Reserved.Has(field.Name) || about.Edits.Drops(field.Name) ||
			about.IDs != nil && about.IDs.Replaces(field.Name) ||
			up.Reattach != nil && httphead.EqualFold(field.Name, extensions) ||
			up.Subprotocols != nil && httphead.EqualFold(field.Name, subprotocols) ||
			!endToEnd(req.Fields, field.Name, named) {
			continue
		}
		dst = appendField(dst, field)
	}
	dst = up.appendSubprotocols(dst)
	dst = fw.AppendHeaders(dst, req.Fields, about.Hop)
	dst = about.ClientCert.AppendHeaders(dst, about.Listener, about.Certificate)
	for _, field := range about.Fields {
		if about.Edits.Drops([]byte(field[0])) {
			continue
		}
		if about.Edits.Drops([]byte(field[0])) {
			continue
		}
		dst = append(append(append(append(dst, field[0]...), ": "...), field[1]...), "\r\n"...)
	}
	if fw.Via {
		dst = append(dst, "Via: 1.1 holdfast\r\n"...) // after the client's (RFC 9110 §7.6.3)
	}
	if up.Reattach != nil {
		dst = appendOffers(dst, req.Fields)
		dst = up.Reattach.appendTo(dst)
	} else if up.Session != (session.ID{}) {
		dst = appendSession(dst, up.Session)
	}
	if about.IDs != nil {
		dst = about.IDs.Append(dst)
	}
	return append(about.Edits.Append(dst, about.Source), "\r\n"...)
}

const subprotocols = "sec-websocket-protocol"

// appendSubprotocols appends what the client offers of up.Subprotocols, in its order
// (RFC 6455 §11.3.4: the order is that of preference). Without these, its own fields are
// passed on.
func (up *Upgrade) appendSubprotocols(dst []byte) []byte {
	if up.Subprotocols == nil {
		return dst
	}
	before := len(dst)
	for list := range up.offers.Values(subprotocols) {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			if !up.speaks(member) {
				continue
			}
			if len(dst) == before {
				dst = append(dst, "Sec-WebSocket-Protocol: "...)
			} else {
				dst = append(dst, ", "...)
			}
			dst = append(dst, member...)
		}
	}
	if len(dst) > before {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// speaks reports whether backends get a subprotocol.
func (up *Upgrade) speaks(name []byte) bool {
	if up.Subprotocols == nil {
		return true
	}
	for _, s := range up.Subprotocols {
		if string(name) == s {
			return true
		}
	}
	return false
}

// AppendResponse appends the head of the 101 for the client. That is the backend's
// response, with the hop-by-hop fields replaced by the balancer's, and without the
// Holdfast- fields, which are for the balancer. resp must have passed CheckResponse
// with up.
func AppendResponse(dst []byte, resp *httphead.Response, up *Upgrade, changes *Changes) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: "...)
	dst = append(up.appendProtocol(dst), "\r\nConnection: Upgrade\r\n"...)
	named := namesFields(resp.Fields)
	for i := range resp.Fields {
		field := &resp.Fields[i]
		if !endToEnd(resp.Fields, field.Name, named) || httphead.ResemblesPrefix(field.Name, "holdfast-") || up.Reattach != nil && httphead.EqualFold(field.Name, extensions) ||
			changes.replacesInAnswer(field.Name) {
			continue
		}
		dst = appendField(dst, field)
	}
	if up.Reattach != nil && up.agreed.on {
		dst = append(dst, "Sec-WebSocket-Extensions: "...)
		dst = append(up.agreed.appendTo(dst), "\r\n"...)
	}
	if up.FallbackSubprotocol != "" && resp.Fields.Count("sec-websocket-protocol") == 0 {
		dst = append(append(append(dst, "Sec-WebSocket-Protocol: "...), up.FallbackSubprotocol...), "\r\n"...)
	}
	return append(changes.appendToAnswer(dst), "\r\n"...)
}

func appendField(dst []byte, field *httphead.Field) []byte {
	dst = append(dst, field.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, field.Value...)
	return append(dst, "\r\n"...)
}

// endToEnd reports whether a field is passed on to the other side. It isn't if it
// concerns one connection only (RFC 9110 §7.6.1), or a body, which a handshake
// doesn't have, or if Connection names it; named says whether that names any.
// Connection can't remove the WebSocket's own fields: the handshake would no
// longer be the one that was checked.
func endToEnd(fields httphead.Fields, name []byte, named bool) bool {
	for _, hop := range hopByHop {
		if httphead.EqualFold(name, hop) {
			return false
		}
	}
	if !named || hasPrefixFold(name, "sec-websocket-") {
		return true
	}
	return !fields.HasToken("connection", string(name))
}

// hopByHop are the fields that are never passed on, in lower case. Credentials for
// a proxy are for the balancer (RFC 9110 §11.7).
var hopByHop = [...]string{
	"connection", "upgrade", "keep-alive", "proxy-connection", "te", "trailer",
	"transfer-encoding", "content-length", "http2-settings", "proxy-authorization", "proxy-authenticate",
}

// namesFields reports whether Connection has other options than the usual ones,
// which name no field that isn't in hopByHop anyway.
func namesFields(fields httphead.Fields) bool {
	for list := range fields.Values("connection") {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			if !httphead.EqualFold(member, "upgrade") && !httphead.EqualFold(member, "keep-alive") {
				return true
			}
		}
	}
	return false
}

func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && httphead.EqualFold(b[:len(prefix)], prefix)
}
