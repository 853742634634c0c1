package handshake

import (
	"errors"

	"github.com/holdfast-ws/holdfast/internal/httphead"
)

// ErrPlainAnswer is returned by CheckResponse for a well-formed response that
// is no 101: the backend declined, and its answer is for the client (PassBack).
var ErrPlainAnswer = errors.New("the backend declined the WebSocket with a plain answer")

// Reason is what a backend did wrong, short and of few kinds: fit for a metric.
type Reason string

const (
	ReasonMalformed   Reason = "malformed_response" // no HTTP/1.1, truncated, or a broken body
	ReasonTooLarge    Reason = "response_head_too_large"
	ReasonInterim     Reason = "too_many_interim_responses"
	ReasonVersion     Reason = "http_1_0"
	ReasonUpgrade     Reason = "bad_upgrade"    // no "Upgrade: websocket", or more than that
	ReasonConnection  Reason = "bad_connection" // no "Connection: Upgrade"
	ReasonAccept      Reason = "bad_accept"     // Sec-WebSocket-Accept does not answer the key
	ReasonSubprotocol Reason = "bad_subprotocol"
	ReasonExtension   Reason = "bad_extension"
	ReasonTakeover    Reason = "context_takeover" // of permessage-deflate, where that can't be
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

// BackendError is a backend that broke the protocol before anything of it
// reached the client, who can still be told 502.
type BackendError struct {
	Reason Reason
	Err    error // what is known beyond the reason; may be nil
}

func (e *BackendError) Error() string {
	if e.Err != nil {
		return reasonTexts[e.Reason] + ": " + e.Err.Error()
	}
	return reasonTexts[e.Reason]
}

// DependsOnOffer tells that another client, who offers something else, might be
// answered rightly: so it is no sign that the backend is broken, and nobody can
// have it taken for that by what they offer.
func (e *BackendError) DependsOnOffer() bool {
	return e.Reason == ReasonSubprotocol || e.Reason == ReasonExtension || e.Reason == ReasonTakeover
}

func (e *BackendError) Unwrap() error { return e.Err }

var (
	errInterim     = &BackendError{Reason: ReasonInterim}
	errVersion     = &BackendError{Reason: ReasonVersion}
	errUpgrade     = &BackendError{Reason: ReasonUpgrade}
	errConnection  = &BackendError{Reason: ReasonConnection}
	errAccept      = &BackendError{Reason: ReasonAccept}
	errSubprotocol = &BackendError{Reason: ReasonSubprotocol}
	errExtension   = &BackendError{Reason: ReasonExtension}
	errTakeover    = &BackendError{Reason: ReasonTakeover}
)

// CheckResponse holds the backend's response to RFC 6455 §4.1 and §4.2.2, as
// the answer to up. It returns nil for a right 101, ErrPlainAnswer for a
// response that is none, and a *BackendError for a wrong 101.
func CheckResponse(resp *httphead.Response, up *Upgrade) (err error) {
	if resp.Status != 101 {
		return ErrPlainAnswer
	}
	if resp.Minor == 0 {
		return errVersion
	}
	if value, _ := single(resp.Fields, "upgrade"); !httphead.EqualFold(value, "websocket") {
		return errUpgrade
	}
	if !resp.Fields.HasToken("connection", "upgrade") {
		return errConnection
	}
	accept := up.accept()
	if value, _ := single(resp.Fields, "sec-websocket-accept"); string(value) != string(accept[:]) {
		return errAccept
	}
	if resp.Fields.Count("sec-websocket-protocol") > 0 {
		value, ok := single(resp.Fields, "sec-websocket-protocol")
		if !ok || !up.offered("sec-websocket-protocol", value) {
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

// single returns the value of the only field of that name.
func single(fields httphead.Fields, name string) ([]byte, bool) {
	if fields.Count(name) != 1 {
		return nil, false
	}
	return fields.Get(name)
}

// offered tells whether the client listed name in fields called field. An
// extension's parameters are a matter of the two ends.
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

// extensionName cuts the parameters off a member of Sec-WebSocket-Extensions
// (RFC 6455 §9.1). A subprotocol has none.
func extensionName(member []byte) []byte {
	for i, c := range member {
		if c == ';' || c == ' ' || c == '\t' {
			return member[:i]
		}
	}
	return member
}
