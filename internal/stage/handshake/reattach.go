package handshake

import (
	"bytes"
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Reattach describes to a backend a session that may be moved to another backend
// later, or is being moved to this one.
type Reattach struct {
	ID session.ID
	// Attempt counts the backends that were asked to take over the session in
	// this search, including this one. 0 means that the session begins; then the
	// fields below are not sent.
	Attempt int
	Why     session.Why
	// Move is the number of the move, 1 for the session's first.
	Move int
	// From is the name of the backend that the session leaves. "" means unknown,
	// and isn't sent.
	From string
}

// controlVersion is the version of the notices (see internal/relay) that
// Holdfast-Control offers. A server agrees by the same field in its 101.
const controlVersion = "1"

// IsReserved reports whether only a balancer may send a field of that name to a
// backend. If clients could send Holdfast- fields, they could take over the
// sessions of others; names that servers treat as the same (Holdfast_Session) are
// reserved, too. So are names that servers treat as a hop-by-hop field
// (Transfer_Encoding). Such fields of a client are removed.
func IsReserved(name []byte) bool {
	if httphead.ResemblesPrefix(name, "holdfast-") {
		return true
	}
	if httphead.IsPlainName(name) { // as nearly all are
		return false
	}
	for _, hop := range hopByHop {
		if httphead.Resembles(name, hop) {
			return true
		}
	}
	return httphead.Resembles(name, "host")
}

func appendSession(dst []byte, id session.ID) []byte {
	dst = append(dst, "Holdfast-Session: "...)
	return append(id.AppendTo(dst), "\r\n"...)
}

func (r *Reattach) appendTo(dst []byte) []byte {
	dst = append(appendSession(dst, r.ID), "Holdfast-Control: "+controlVersion+"\r\n"...)
	if r.Attempt == 0 {
		return dst
	}
	if r.From != "" {
		dst = append(dst, "Holdfast-From: "...)
		dst = append(append(dst, r.From...), "\r\n"...)
	}
	dst = append(dst, "Holdfast-Move: "...)
	dst = append(strconv.AppendInt(dst, int64(r.Move), 10), "\r\n"...)
	dst = append(dst, "Holdfast-Reattach: "...)
	dst = append(dst, r.Why.String()...)
	dst = append(dst, "\r\nHoldfast-Attempt: "...)
	return append(strconv.AppendInt(dst, int64(r.Attempt), 10), "\r\n"...)
}

// Agreed is what both ends have agreed on by the 101 until the end of the session.
// Another backend can take over the session only if it agrees to the same.
type Agreed struct {
	Protocol []byte // a slice of the response's buffer; empty means none
	Deflate  Deflate
	// Control means that the backend wants notices. It doesn't concern the
	// client, so Same ignores it.
	Control bool
}

// Agreed returns what was agreed by resp, which has passed CheckResponse.
func (up *Upgrade) Agreed(resp *httphead.Response) Agreed {
	protocol, _ := resp.Fields.Get("sec-websocket-protocol")
	control, _ := single(resp.Fields, "holdfast-control")
	return Agreed{protocol, up.agreed, string(control) == controlVersion}
}

// FrameRules are what the two sides may send by the extensions of resp, which has passed
// CheckResponse.
func (up *Upgrade) FrameRules(resp *httphead.Response) (rules frame.Rules) {
	if up.Reattach != nil {
		if up.agreed.on {
			return frame.AllowDeflate
		}
		return 0
	}
	for list := range resp.Fields.Values(extensions) {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			if httphead.EqualFold(extensionName(member), deflateName) {
				rules |= frame.AllowDeflate
			} else {
				rules |= frame.AllowExtension
			}
		}
	}
	return rules
}

// Same reports whether a and b are the same for the client.
func (a Agreed) Same(b Agreed) bool {
	return bytes.Equal(a.Protocol, b.Protocol) && a.Deflate.same(b.Deflate)
}
