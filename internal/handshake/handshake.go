// Package handshake is the stage that speaks HTTP: the opening handshake of
// RFC 6455 §4 with the client on one side and with a backend on the other.
//
// A session opens in this order, each step a plain call:
//
//	ReadRequest    the client's request head
//	IsWebSocket    no: hand the bytes to the plain HTTP server
//	Check          what a client must send (§4.2.1); fills in Upgrade
//	AppendRequest  the head for the backend
//	ReadResponse   the backend's response head
//	CheckResponse  what a server must send (§4.2.2), against Upgrade
//	AppendResponse the 101 for the client
//
// or, where the backend gave something else than a 101, PassBack. Nothing is
// allocated on the way to a 101; parsed heads are slices into the caller's
// buffers, which must stay as they are until the handshake is over.
//
// A *Refusal is what the client is told instead; a *BackendError is a backend
// that broke the protocol. Errors of a connection itself come back as they
// are.
package handshake

import (
	"crypto/sha1"
	"encoding/base64"

	"github.com/holdfast-ws/holdfast/internal/httphead"
)

// keyLength is 16 bytes in base64.
const keyLength = 24

// acceptGUID is from RFC 6455 §1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Upgrade is what a client asked for, as far as the stages after this one and
// CheckResponse need it. Path and the offers are slices into the request's
// buffer.
type Upgrade struct {
	// Host is the requested host in lower case, without port and final dot.
	Host []byte
	// Path is the request's path as it came, without the query.
	Path []byte
	// Reattach is for the caller to set after Check: the session may be given
	// another backend later. Backends are told so, and the extensions are held
	// to what can be carried over. nil: it stays with its backend.
	Reattach *Reattach

	agreed Deflate // by CheckResponse, where Reattach is set
	key    [keyLength]byte
	offers httphead.Fields
	host   [httphead.MaxHostname]byte
}

// IsWebSocket tells whether the request asks for a WebSocket, well or badly.
// Everything else is plain HTTP.
func IsWebSocket(req *httphead.Request) bool {
	return req.Fields.HasToken("upgrade", "websocket")
}

// Check holds the request to RFC 6455 §4.2.1 and fills in up. The error is a
// *Refusal.
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
	up.Host = httphead.AppendHostname(up.host[:0], req.Host)
	up.Path = req.Path
	up.offers = req.Fields
	up.Reattach, up.agreed = nil, Deflate{}
	return nil
}

func validKey(key []byte) bool {
	var nonce [18]byte // what Decode wants for 24 characters, padding or not
	if len(key) != keyLength {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], key)
	return err == nil && n == 16
}

// accept is the value of Sec-WebSocket-Accept that answers the key.
func (up *Upgrade) accept() (value [28]byte) {
	var text [keyLength + len(acceptGUID)]byte
	copy(text[copy(text[:], up.key[:]):], acceptGUID)
	sum := sha1.Sum(text[:])
	base64.StdEncoding.Encode(value[:], sum[:])
	return value
}
