package handshake

import (
	"github.com/holdfast-ws/holdfast/internal/forwarded"
	"github.com/holdfast-ws/holdfast/internal/httphead"
)

// AppendRequest appends the head of the request for the backend: the client's
// with its target in origin-form, the Host it asked for, the hop-by-hop fields
// and those that Owns knows removed, and our own upgrade and forwarding fields
// in their place. req must have passed Check, which filled in up.
func AppendRequest(dst []byte, req *httphead.Request, up *Upgrade, fw *forwarded.Policy, hop forwarded.Hop) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, req.Path...)
	dst = append(dst, req.Query...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, req.Host...)
	dst = append(dst, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"...)
	named := namesFields(req.Fields)
	for i := range req.Fields {
		field := &req.Fields[i]
		if httphead.EqualFold(field.Name, "host") || forwarded.Owns(field.Name) || Owns(field.Name) ||
			up.Reattach != nil && httphead.EqualFold(field.Name, extensions) ||
			!endToEnd(req.Fields, field.Name, named) {
			continue
		}
		dst = appendField(dst, field)
	}
	dst = fw.AppendHeaders(dst, req.Fields, hop)
	if up.Reattach != nil {
		dst = appendOffers(dst, req.Fields)
		dst = up.Reattach.appendTo(dst)
	}
	return append(dst, "\r\n"...)
}

// AppendResponse appends the head of the 101 for the client: the backend's,
// with the hop-by-hop fields removed and our own in their place. resp must have
// passed CheckResponse against up. setCookie is the value of a Set-Cookie field
// of ours; empty adds none.
func AppendResponse(dst []byte, resp *httphead.Response, up *Upgrade, setCookie []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"...)
	named := namesFields(resp.Fields)
	for i := range resp.Fields {
		field := &resp.Fields[i]
		if !endToEnd(resp.Fields, field.Name, named) || up.Reattach != nil && httphead.EqualFold(field.Name, extensions) {
			continue
		}
		dst = appendField(dst, field)
	}
	if up.Reattach != nil && up.agreed.on {
		dst = append(dst, "Sec-WebSocket-Extensions: "...)
		dst = append(up.agreed.appendTo(dst), "\r\n"...)
	}
	if len(setCookie) > 0 {
		dst = append(dst, "Set-Cookie: "...)
		dst = append(dst, setCookie...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func appendField(dst []byte, field *httphead.Field) []byte {
	dst = append(dst, field.Name...)
	dst = append(dst, ": "...)
	dst = append(dst, field.Value...)
	return append(dst, "\r\n"...)
}

// endToEnd tells whether a field goes on to the other side: it is neither one
// of those that concern one connection only (RFC 9110 §7.6.1) nor about a body,
// which a handshake has none of, nor named in Connection, if that names any.
// Connection cannot strip the WebSocket's own fields: without them there would
// be another handshake than the one that was checked.
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

// hopByHop are the fields never passed on, in lower case. The credentials for a
// proxy are for us, the one that was spoken to (RFC 9110 §11.7).
var hopByHop = [...]string{
	"connection", "upgrade", "keep-alive", "proxy-connection", "te", "trailer",
	"transfer-encoding", "content-length", "http2-settings", "proxy-authorization", "proxy-authenticate",
}

// namesFields tells whether Connection has options beyond the usual ones,
// which name no field that hopByHop does not have.
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
