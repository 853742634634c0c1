package attempt

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Facts is a headeredit.Source: what is known about a request. Whoever knows more
// than it was made with adds that.
type Facts struct {
	Asked
	Meta      *transport.Meta
	Client    netip.AddrPort
	Host      []byte // as requested, with its port
	Forwarded *forwarded.Policy
	Session   session.ID // zero for plain HTTP
	RequestID []byte     // nil is none
	// Route is the label of the rule; Backend is "" before one is chosen.
	Route, Pool, Backend string
}

// Asked is a request: a *Request, or one of plain HTTP.
type Asked interface {
	requestkey.Request
	// URI is the path with the query.
	URI() []byte
	// IsSecure reports whether the client uses TLS, also if it is a trusted proxy
	// that says so.
	IsSecure(*forwarded.Policy) bool
}

// AppendFact implements headeredit.Source.
func (f *Facts) AppendFact(dst []byte, k headeredit.Kind) []byte {
	switch k {
	case headeredit.ClientIP:
		if ip := f.Client.Addr(); ip.IsValid() {
			return ip.Unmap().AppendTo(dst)
		}
	case headeredit.ClientPort:
		if port := f.Client.Port(); port > 0 { // a proxy may not have reported it
			return strconv.AppendUint(dst, uint64(port), 10)
		}
	case headeredit.SessionID:
		if f.Session != (session.ID{}) {
			return f.Session.AppendTo(dst)
		}
	case headeredit.RequestID:
		return append(dst, f.RequestID...)
	case headeredit.Host:
		return httphead.AppendHostname(dst, f.Host)
	case headeredit.Scheme:
		if f.IsSecure(f.Forwarded) {
			return append(dst, "https"...)
		}
		return append(dst, "http"...)
	case headeredit.SNI:
		if t := f.Meta.TLS; t != nil {
			return append(dst, t.ServerName...)
		} else if t := f.Meta.Front; t != nil && t.TLS != nil {
			return append(dst, t.TLS.ServerName...)
		}
	case headeredit.TLSVersion:
		if t := f.Meta.TLS; t != nil && t.Version != 0 {
			return append(dst, t.VersionWord()...)
		} else if t := f.Meta.Front; t != nil && t.TLS != nil {
			return append(dst, strings.TrimPrefix(t.TLS.Version, "TLSv")...)
		}
	case headeredit.Listener:
		return append(dst, f.Meta.ListenerName()...)
	case headeredit.Route:
		return append(dst, f.Route...)
	case headeredit.Pool:
		return append(dst, f.Pool...)
	case headeredit.Backend:
		return append(dst, f.Backend...)
	case headeredit.Search:
		if query := bytes.TrimPrefix(f.Query(), []byte{'?'}); len(query) > 0 {
			return append(append(dst, '?'), query...)
		}
	case headeredit.URI:
		return appendFromRoot(dst, f.URI())
	case headeredit.Path:
		return appendFromRoot(dst, f.Asked.Path())
	case headeredit.Query:
		return append(dst, f.Query()...)
	case headeredit.ForwardedFor:
		return f.appendForwardedFor(dst)
	}
	return dst
}

// appendFromRoot appends a path, or nothing if it is the "*" of OPTIONS.
func appendFromRoot(dst, path []byte) []byte {
	if len(path) == 0 || path[0] != '/' {
		return dst
	}
	return append(dst, path...)
}

// appendForwardedFor appends X-Forwarded-For as the client has sent it, and the address of
// the connection's other end.
func (f *Facts) appendForwardedFor(dst []byte) []byte {
	for i := 0; ; i++ {
		value, ok := f.Header("x-forwarded-for", i)
		if !ok {
			break
		}
		dst = append(append(dst, value...), ", "...)
	}
	return f.Meta.Peer.Addr().Unmap().WithZone("").AppendTo(dst)
}
