// Package handshake is the stage that speaks HTTP: the opening handshake of
// RFC 6455 §4 with the client on one side and with a backend on the other. It
// doesn't decide which backend that is, nor what follows an error.
//
// A session opens in this order:
//
//	ReadRequest    the client's request head
//	IsWebSocket    if not, the bytes are for the plain HTTP server
//	Check          what a client must send (§4.2.1); fills in Upgrade
//	AppendRequest  the head for the backend
//	ReadResponse   the backend's response head
//	CheckResponse  what a server must send (§4.2.2), compared with Upgrade
//	AppendResponse the 101 for the client
//
// If the backend's answer is not a 101, PassBack replaces the last step. For an
// upgrade to something else (other.go), CheckOther replaces Check. Nothing
// is allocated on the way to a 101: parsed heads are slices of the caller's
// buffers, which must stay unchanged until the handshake is over.
//
// Errors are *failure.Error. One that says that a backend broke the protocol wraps
// a *BackendError. Errors of a connection itself are returned unchanged.
package handshake

import (
	"crypto/sha1"
	"encoding/base64"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// keyLength is 16 bytes in base64.
const keyLength = 24

// acceptGUID is from RFC 6455 §1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Upgrade is what a client asked for: the part of its request that later stages
// and CheckResponse need. Path and the offers are slices of the request's buffer.
type Upgrade struct {
	// Host is the requested host in lower case, without port and final dot.
	Host []byte
	// Path is the request's path, unchanged, without the query.
	Path []byte
	// Other is what is asked for instead of a WebSocket, see CheckOther; nil means a
	// WebSocket. Method is its request's, and BodyLength the length of its body.
	Other      []byte
	Method     []byte
	BodyLength int
	// Subprotocols are those that backends get and may choose, of what the
	// client offers; nil means all. The caller sets it after Check.
	Subprotocols []string
	// Session is the ID that is sent to the backend, so that its log can be joined
	// with the balancer's. The caller sets it after Check; the zero ID isn't sent.
	Session session.ID
	// Reattach means that the session may be moved to another backend later.
	// Backends are told so, and extensions are limited to those that can be
	// carried over. The caller sets it after Check; nil means that the session
	// stays with its backend.
	Reattach *Reattach

	// FallbackSubprotocol is the answer to the client if the backend chooses none. The client
	// has offered it, and the backend wasn't offered it. The caller sets it after
	// Check; "" is none.
	FallbackSubprotocol string

	agreed Deflate // set by CheckResponse if Reattach is set
	key    [keyLength]byte
	offers httphead.Fields
	host   [httphead.MaxHostname]byte
}

// IsWebSocket reports whether the request asks for a WebSocket, correctly or not.
// Everything else is plain HTTP.
func IsWebSocket(req *httphead.Request) bool {
	return req.Fields.HasToken("upgrade", "websocket")
}

// Check checks the request by RFC 6455 §4.2.1 and fills in up.
func Check(req *httphead.Request, up *Upgrade) error {
	switch {
	case string(req.Method) != "GET":
		return refuseMethod
	case req.Minor == 0:
		return refuseVersion10
	case req.Chunked || req.ContentLength > 0:
		return refuseBody
	case !req.Fields.HasToken("connection", "upgrade"):
		return refuseConnection
	}
	version, _ := req.Fields.Get("sec-websocket-version")
	if string(version) != "13" || req.Fields.Count("sec-websocket-version") != 1 {
		return refuseWebSocketVersion
	}
	key, _ := req.Fields.Get("sec-websocket-key")
	if !validKey(key) || req.Fields.Count("sec-websocket-key") != 1 {
		return refuseKey
	}
	copy(up.key[:], key)
	up.fill(req)
	return nil
}

// fill sets what doesn't depend on the protocol.
func (up *Upgrade) fill(req *httphead.Request) {
	up.Host = httphead.AppendHostname(up.host[:0], req.Host)
	up.Path = req.Path
	up.offers = req.Fields
	up.Other, up.Method, up.BodyLength = nil, req.Method, 0
	up.Subprotocols, up.Session, up.Reattach, up.FallbackSubprotocol, up.agreed = nil, session.ID{}, nil, "", Deflate{}
}

// SetOffers replaces the fields in which the client offers subprotocols and extensions, as
// the backend gets them. req.Fields must be replaced, too.
func (up *Upgrade) SetOffers(fields httphead.Fields) { up.offers = fields }

func validKey(key []byte) bool {
	var nonce [18]byte // Decode needs these for 24 characters, with padding or without
	if len(key) != keyLength {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], key)
	return err == nil && n == 16
}

// accept is the value of Sec-WebSocket-Accept for the key.
func (up *Upgrade) accept() (value [28]byte) {
	var text [keyLength + len(acceptGUID)]byte
	copy(text[copy(text[:], up.key[:]):], acceptGUID)
	sum := sha1.Sum(text[:])
	base64.StdEncoding.Encode(value[:], sum[:])
	return value
}
