package handshake

import "github.com/holdfast-ws/holdfast/internal/wire/httphead"

// MaxBody bounds the body of a request for another upgrade, in bytes. It is kept until
// a backend has answered.
const MaxBody = 64 << 10

// CheckOther reports whether the request asks, correctly, for one of the protocols
// other than WebSocket, and fills in up. Otherwise it is a plain request, as the
// protocol of an upgrade that isn't wanted is for the server to ignore (RFC 9110
// §7.8). So is one with a body that is long, has no length, or is sent only when asked
// for.
func CheckOther(req *httphead.Request, protocols []string, up *Upgrade) bool {
	if req.Minor == 0 || req.Chunked || req.ContentLength > MaxBody || req.Fields.Count("expect") > 0 ||
		len(req.Path) == 0 || req.Path[0] != '/' || !req.Fields.HasToken("connection", "upgrade") {
		return false
	}
	for list := range req.Fields.Values("upgrade") {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			for _, p := range protocols {
				if httphead.EqualFold(member, p) {
					up.fill(req)
					up.Other, up.BodyLength = member, int(max(0, req.ContentLength))
					return true
				}
			}
		}
	}
	return false
}

const webSocket = "websocket"

// isProtocol reports whether a backend's Upgrade is what up asks for.
func (up *Upgrade) isProtocol(value []byte) bool {
	if up.Other != nil {
		return httphead.EqualFold(value, string(up.Other))
	}
	return httphead.EqualFold(value, webSocket)
}

func (up *Upgrade) appendProtocol(dst []byte) []byte {
	if up.Other != nil {
		return append(dst, up.Other...)
	}
	return append(dst, webSocket...)
}
