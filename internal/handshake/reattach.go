package handshake

import (
	"bytes"
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/httphead"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Reattach is what a backend is told of a session that may be given another
// backend later, or is being given this one.
type Reattach struct {
	ID session.ID
	// Attempt counts the backends that have been asked to take the session
	// over in this move, this one included. 0 is a session that begins.
	Attempt int
	Why     session.Why // where Attempt isn't 0
}

// Names of the fields that say it, in lower case.
const (
	fieldSession = "holdfast-session"
	fieldWhy     = "holdfast-reattach"
	fieldAttempt = "holdfast-attempt"
)

// Owns tells whether only a balancer may send a backend fields of that name: a
// client that could would take over the sessions of others. Servers that make
// variables of fields, as CGI does (RFC 3875 §4.1.18), can't tell "_" from "-".
func Owns(name []byte) bool {
	const prefix = "holdfast"
	if !hasPrefixFold(name, prefix) { // nearly all
		return false
	}
	for _, own := range [...]string{fieldSession, fieldWhy, fieldAttempt} {
		if len(name) != len(own) || name[len(prefix)] != '-' && name[len(prefix)] != '_' {
			continue
		}
		if httphead.EqualFold(name[len(prefix)+1:], own[len(prefix)+1:]) {
			return true
		}
	}
	return false
}

func (r *Reattach) appendTo(dst []byte) []byte {
	dst = append(dst, "Holdfast-Session: "...)
	dst = append(r.ID.AppendTo(dst), "\r\n"...)
	if r.Attempt == 0 {
		return dst
	}
	dst = append(dst, "Holdfast-Reattach: "...)
	dst = append(dst, r.Why.String()...)
	dst = append(dst, "\r\nHoldfast-Attempt: "...)
	return append(strconv.AppendInt(dst, int64(r.Attempt), 10), "\r\n"...)
}

// Agreed is what a right 101 settled that both ends hold to until the end of
// the session: another backend can take it over only if it agrees to the same.
type Agreed struct {
	Protocol []byte // a slice into the response's buffer; empty is none
	Deflate  Deflate
}

// Agreed tells what resp, which has passed CheckResponse against up, settled.
func (up *Upgrade) Agreed(resp *httphead.Response) Agreed {
	protocol, _ := resp.Fields.Get("sec-websocket-protocol")
	return Agreed{protocol, up.agreed}
}

// Same tells whether a client can't tell the two apart.
func (a Agreed) Same(b Agreed) bool {
	return bytes.Equal(a.Protocol, b.Protocol) && a.Deflate.same(b.Deflate)
}
