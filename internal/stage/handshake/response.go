package handshake

import (
	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// ErrPlainAnswer is returned by CheckResponse for a well-formed response other
// than a 101: the backend declined. Its answer is for the client, see PassBack.
var ErrPlainAnswer = failure.New(failure.Declined, "the backend declined the WebSocket with a plain answer")

// Reason is what a backend did wrong, in one word.
type Reason string

const (
	ReasonMalformed   Reason = "malformed_response" // not HTTP/1.1, truncated, or a broken body
	ReasonTooLarge    Reason = "response_head_too_large"
	ReasonInterim     Reason = "too_many_interim_responses"
	ReasonVersion     Reason = "http_1_0"
	ReasonUpgrade     Reason = "bad_upgrade"    // no "Upgrade: websocket", or what was asked for, or more than that
	ReasonConnection  Reason = "bad_connection" // no "Connection: Upgrade"
	ReasonAccept      Reason = "bad_accept"     // Sec-WebSocket-Accept does not answer the key
	ReasonSubprotocol Reason = "bad_subprotocol"
	ReasonExtension   Reason = "bad_extension"
	ReasonTakeover    Reason = "context_takeover" // of permessage-deflate, although it was excluded
)

var reasonTexts = map[Reason]string{
	ReasonMalformed:   "the response is not well-formed HTTP/1.1",
	ReasonTooLarge:    "the response's head is too large",
	ReasonInterim:     "too many interim (1xx) responses",
	ReasonVersion:     "the 101 is HTTP/1.0",
	ReasonUpgrade:     "the 101 lacks \"Upgrade: websocket\"",
	ReasonConnection:  "the 101 lacks \"Connection: Upgrade\"",
	ReasonAccept:      "Sec-WebSocket-Accept does not answer the client's key",
	ReasonSubprotocol: "the 101 names a subprotocol that was not offered, or more than one",
	ReasonExtension:   "the 101 names an extension that was not offered",
	ReasonTakeover:    "the 101 takes permessage-deflate without the server_no_context_takeover that was asked for, which sessions that are reattached need",
}

// BackendError is a backend that broke the protocol before anything of its
// answer reached the client, which can still be told 502. It comes wrapped in a
// *failure.Error.
type BackendError struct {
	Reason Reason
	Err    error // the cause; may be nil
}

func (e *BackendError) Error() string {
	if e.Err != nil {
		return reasonTexts[e.Reason] + ": " + e.Err.Error()
	}
	return reasonTexts[e.Reason]
}

// DependsOnOffer reports whether a client that offers something else might get a
// correct answer. Then the error isn't a sign that the backend is broken:
// otherwise clients could make it look broken by what they offer.
func (e *BackendError) DependsOnOffer() bool {
	return e.Reason == ReasonSubprotocol || e.Reason == ReasonExtension || e.Reason == ReasonTakeover
}

func (e *BackendError) Unwrap() error { return e.Err }

// broken makes the error of a backend that broke the protocol; err may be nil.
func broken(reason Reason, err error) error {
	return failure.Wrap(failure.Broken, &BackendError{Reason: reason, Err: err})
}

var (
	errInterim     = broken(ReasonInterim, nil)
	errVersion     = broken(ReasonVersion, nil)
	errUpgrade     = broken(ReasonUpgrade, nil)
	errConnection  = broken(ReasonConnection, nil)
	errAccept      = broken(ReasonAccept, nil)
	errSubprotocol = broken(ReasonSubprotocol, nil)
	errExtension   = broken(ReasonExtension, nil)
	errTakeover    = broken(ReasonTakeover, nil)
)

// CheckResponse checks the backend's response to up by RFC 6455 §4.1 and §4.2.2, or
// by RFC 9110 §7.8 if that isn't for a WebSocket.
// It returns nil for a correct 101, ErrPlainAnswer for any other status, and an
// error that wraps a *BackendError for a wrong 101.
func CheckResponse(resp *httphead.Response, up *Upgrade) (err error) {
	if resp.Status != 101 {
		return ErrPlainAnswer
	}
	if resp.Minor == 0 {
		return errVersion
	}
	if value, _ := single(resp.Fields, "upgrade"); !up.isProtocol(value) {
		return errUpgrade
	}
	if !resp.Fields.HasToken("connection", "upgrade") {
		return errConnection
	}
	if up.Other != nil {
		return nil // the rest is theirs
	}
	accept := up.accept()
	if value, _ := single(resp.Fields, "sec-websocket-accept"); string(value) != string(accept[:]) {
		return errAccept
	}
	if resp.Fields.Count(subprotocols) > 0 {
		value, ok := single(resp.Fields, subprotocols)
		if !ok || !up.speaks(value) || !up.offered(subprotocols, value) {
			return errSubprotocol
		}
	}
	if up.Reattach != nil {
		up.agreed, err = agreedDeflate(resp.Fields, up.offers)
		return err
	}
	for list := range resp.Fields.Values(extensions) {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			if !up.offered(extensions, extensionName(member)) {
				return errExtension
			}
		}
	}
	return nil
}

// single returns the value of a field, and false unless there is exactly one.
func single(fields httphead.Fields, name string) ([]byte, bool) {
	if fields.Count(name) != 1 {
		return nil, false
	}
	return fields.Get(name)
}

// offered reports whether the client listed name in the fields called field. The
// parameters of an extension are left to the two ends.
func (up *Upgrade) offered(field string, name []byte) bool {
	if !httphead.IsToken(name) {
		return false
	}
	for list := range up.offers.Values(field) {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			if string(extensionName(member)) == string(name) {
				return true
			}
		}
	}
	return false
}

// extensionName removes the parameters from a member of Sec-WebSocket-Extensions
// (RFC 6455 §9.1). A subprotocol has none.
func extensionName(member []byte) []byte {
	for i, c := range member {
		if c == ';' || c == ' ' || c == '\t' {
			return member[:i]
		}
	}
	return member
}
