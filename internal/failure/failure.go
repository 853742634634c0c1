// Package failure has the one type of error that ends a handshake, or an
// attempt to give a session another backend. The stage where something goes
// wrong makes the error. It carries all that the spine (internal/proxy) needs:
// the word for the log and the metrics, what the client is told, and on whose
// side the cause is. Use errors.As to find it in a chain of errors.
//
// To add a failure, add a Code and its line in the table.
package failure

import (
	"errors"
	"net/http"
	"time"
)

// Error is why a handshake or a move of a session failed.
type Error struct {
	Code Code
	// Refusal is what the client is told. nil: nothing, since it has gone, has
	// asked for nothing, or gets the backend's answer.
	Refusal *Refusal
	// RetryAfter is how long the client should wait before it tries again, if that is
	// known; otherwise 0.
	RetryAfter time.Duration
	// Reason is for the log. If it is empty, Err says it all.
	Reason string
	Err    error // the cause; may be nil
}

// Of finds the *Error in the chain of err. An error without one is a bug, and
// Internal.
func Of(err error) *Error {
	var f *Error
	if !errors.As(err, &f) {
		f = &Error{Code: Internal, Refusal: table[Internal].refusal, Err: err}
	}
	return f
}

// New makes an *Error with the usual refusal of its code. reason is for the log.
func New(code Code, reason string) error {
	return &Error{Code: code, Refusal: table[code].refusal, Reason: reason}
}

// Wrap makes an *Error with the usual refusal of its code. err, which is not
// nil, says the rest.
func Wrap(code Code, err error) error {
	return &Error{Code: code, Refusal: table[code].refusal, Err: err}
}

func (e *Error) Error() string {
	if e.Reason == "" && e.Err != nil {
		return e.Err.Error()
	}
	return e.Reason
}

func (e *Error) Unwrap() error { return e.Err }

// Refusal is an HTTP response of the balancer's own.
type Refusal struct {
	Status  int         // of HTTP
	Message string      // the body: what to do about it, in a sentence or two
	Header  [][2]string // fields beyond those that every refusal has
	// ContentType is that of Message, which then is the body as it is; "" is for a text of
	// the balancer's own, to which the end of its line is added.
	ContentType string
}

// Body is the body of r and its type, both "" if it has none.
func (r *Refusal) Body() (body, contentType string) {
	switch {
	case r.ContentType == "":
		return r.Message + "\n", "text/plain; charset=utf-8"
	case r.Message == "":
		return "", ""
	}
	return r.Message, r.ContentType
}

// HasNoBody reports whether an answer with that status ends with its head (RFC 9110
// §8.6, §15.3.6).
func HasNoBody(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// Side is where the cause of a failure is.
type Side uint8

const (
	Balancer Side = iota // also: what its configuration or its limits say
	Client
	Backend // that was asked
)

// Code is a kind of failure.
type Code uint8

const (
	// Internal is a bug of the balancer's own.
	Internal Code = iota

	// NothingAsked: the client closed its connection, or was silent, without
	// having sent anything. It isn't counted.
	NothingAsked
	// ClientGone: the client's connection ended before the handshake did.
	ClientGone
	// BadRequest to RequestTimeout: the client's request. The handshake stage
	// says more exactly what is wrong with it.
	BadRequest
	MethodNotAllowed
	UnsupportedVersion // of the WebSocket protocol
	HeadTooLarge
	BodyTooLarge // of a request of plain HTTP
	RequestTimeout
	// ProxyStranger: a header of the PROXY protocol is required, and the connection is
	// from an address that isn't trusted. ProxyHeader: the header of one that is trusted
	// is missing or broken.
	ProxyStranger
	ProxyHeader
	// TLSFailed: the TLS handshake with the client failed.
	TLSFailed
	// Redirected: to https, or by its route. Responded: its route has an answer for it.
	Redirected
	Responded

	NoRoute
	BadPath // malformed, or ambiguous
	// Ambiguous: its header fields or its query can be read in ways that lead to
	// different routes.
	Ambiguous
	// Misdirected: the TLS handshake of its connection was for another host.
	Misdirected

	// AddressRefused to SubprotocolRefused: the route or the listener doesn't admit
	// such clients.
	AddressRefused
	OriginRefused
	SubprotocolRefused

	// TokenMissing to AuthUnavailable: the route asks who the client is. The auth stage
	// says more exactly what is wrong with a token.
	TokenMissing
	TokenInvalid
	TokenExpired
	ClaimsRefused   // the token is valid, and its claims don't satisfy the route
	NoTokenKeys     // none were ever loaded
	AuthDenied      // by the endpoint of auth.request
	AuthUnavailable // that endpoint

	Stopping          // the balancer
	TooManyHandshakes // at once, in the whole balancer
	TooManySessions
	TooManyOfAddress // handshakes of one address at once
	ListenerSessions // of one listener, including handshakes
	AddressSessions  // of one address
	AddressRate      // new sessions of one address come too fast
	AddressRequests  // under way, of one address
	RequestRate      // requests of one address come too fast
	// AddressConnections: connections of plain HTTP of one address.
	AddressConnections
	ClaimSessions    // of one value of a claim
	QueueFull        // of a pool
	QueueAddressFull // too many of one address are in it
	QueueTimeout

	NoBackend       // that is up
	PoolFull        // all backends that are up have max_sessions
	AffinityRefused // the client's own backend can't take it, and no other is wanted

	// NoResources: the balancer has no descriptor or no port to connect with.
	NoResources
	// ConnectTimeout to Declined: the backend that was asked.
	ConnectTimeout
	Unreachable   // refused, reset, or no way to it
	BackendTLS    // connected, and the TLS handshake failed
	AnswerTimeout // connected, and no answer in time
	Silent        // connected, and the connection ended without an answer
	Broken        // its answer broke the protocol
	Declined      // another answer than 101
	Different     // only for moves: it agreed to something else than the backend before it

	// The others are for moves alone.
	ReattachOff     // the pool is gone from the configuration, or has no reattach for this
	NotKept         // the session's handshake
	NotNeeded       // no other backend has fewer sessions than its fair share any more
	Rejected        // the new backend did not keep the session
	WaitedTooLong   // for its turn
	TakenBack       // the reason for the move is gone
	ReattachTimeout // no other backend in time
	NoBoundary      // the client's message did not end
	MessageCut      // the old backend went in the middle of a message
	SessionEnded    // before it could be moved

	codes // how many there are
)

const (
	tryAgain      = " Try again later, after a random pause."
	balancerFull  = "The balancer is full." + tryAgain
	noAnswer      = "No server answered the handshake."
	brokenAnswer  = "The server's answer to the handshake broke the WebSocket protocol."
	unavailable   = http.StatusServiceUnavailable
	tooMany       = http.StatusTooManyRequests
	badGateway    = http.StatusBadGateway
	gatewayExpiry = http.StatusGatewayTimeout
)

// table has what follows from each code. result is the label of
// holdfast_handshakes_total, reattach that of holdfast_reattach_total; both are
// the word in the log, too, and empty if the code can't end such a thing. What a
// client gets for an error in its own request depends on the error: those
// refusals are made in stage/handshake/refusal.go.
var table = [codes]struct {
	side     Side
	result   string
	reattach string
	refusal  *Refusal
}{
	Internal: {Balancer, "internal_error", "internal_error", &Refusal{Status: http.StatusInternalServerError, Message: "The balancer failed."}},

	NothingAsked:       {Client, "", "", nil},
	ClientGone:         {Client, "client_gone", "", nil},
	BadRequest:         {Client, "bad_request", "", nil},
	MethodNotAllowed:   {Client, "method_not_allowed", "", nil},
	UnsupportedVersion: {Client, "unsupported_version", "", nil},
	HeadTooLarge:       {Client, "head_too_large", "", nil},
	BodyTooLarge:       {Client, "body_too_large", "", &Refusal{Status: http.StatusRequestEntityTooLarge, Message: "The request's body is too long."}},
	RequestTimeout:     {Client, "request_timeout", "", nil},

	ProxyStranger: {Client, "proxy_stranger", "", nil},
	ProxyHeader:   {Client, "proxy_header", "", nil},

	TLSFailed:  {Client, "tls_failed", "", nil},
	Redirected: {Client, "redirected", "", nil},
	Responded:  {Balancer, "responded", "", nil},

	NoRoute:   {Client, "no_route", "", &Refusal{Status: http.StatusNotFound, Message: "No route leads to this host and path."}},
	BadPath:   {Client, "bad_path", "", &Refusal{Status: http.StatusBadRequest, Message: "The path is malformed or can be read in more than one way."}},
	Ambiguous: {Client, "ambiguous", "", &Refusal{Status: http.StatusBadRequest, Message: "A header field or a parameter of the query that routes look at is there several times: send it once."}},

	Misdirected: {Client, "misdirected", "", &Refusal{Status: http.StatusMisdirectedRequest, Message: "This connection was made for another host: send the request on one of its own."}},

	AddressRefused:     {Client, "address_refused", "", &Refusal{Status: http.StatusForbidden, Message: "Clients of your address are not admitted here. The keys allow and deny of the route and of the listener decide that."}},
	OriginRefused:      {Client, "origin_refused", "", &Refusal{Status: http.StatusForbidden, Message: "Pages of this origin may not open WebSockets here. To admit them, add the origin to the key origins of the route or of the listener."}},
	SubprotocolRefused: {Client, "subprotocol_refused", "", &Refusal{Status: http.StatusForbidden, Message: "None of the subprotocols that the request offers is spoken here. The key subprotocols of the route lists them."}},

	TokenMissing:    {Client, "token_missing", "", nil},
	TokenInvalid:    {Client, "token_invalid", "", nil},
	TokenExpired:    {Client, "token_expired", "", nil},
	ClaimsRefused:   {Client, "claims_refused", "", nil},
	NoTokenKeys:     {Balancer, "no_token_keys", "", &Refusal{Status: unavailable, Message: "Tokens can't be verified now." + tryAgain}},
	AuthDenied:      {Client, "auth_denied", "", nil},
	AuthUnavailable: {Balancer, "auth_unavailable", "", &Refusal{Status: unavailable, Message: "It can't be found out now who you are." + tryAgain}},

	Stopping:           {Balancer, "stopping", "", &Refusal{Status: unavailable, Message: "The balancer is shutting down."}},
	TooManyHandshakes:  {Balancer, "too_many_handshakes", "", &Refusal{Status: unavailable, Message: balancerFull}},
	TooManySessions:    {Balancer, "too_many_sessions", "", &Refusal{Status: unavailable, Message: balancerFull}},
	TooManyOfAddress:   {Balancer, "too_many_of_address", "", &Refusal{Status: tooMany, Message: "Too many handshakes from your address are under way." + tryAgain}},
	ListenerSessions:   {Balancer, "listener_sessions", "", &Refusal{Status: unavailable, Message: balancerFull}},
	AddressSessions:    {Balancer, "address_sessions", "", &Refusal{Status: tooMany, Message: "Your address has all the sessions it may have." + tryAgain}},
	AddressRate:        {Balancer, "address_rate", "", &Refusal{Status: tooMany, Message: "New sessions from your address come too fast." + tryAgain}},
	AddressRequests:    {Balancer, "address_requests", "", &Refusal{Status: tooMany, Message: "Your address has all the requests under way that it may have." + tryAgain}},
	RequestRate:        {Balancer, "request_rate", "", &Refusal{Status: tooMany, Message: "Requests from your address come too fast." + tryAgain}},
	AddressConnections: {Balancer, "address_connections", "", &Refusal{Status: tooMany, Message: "Your address has all the connections it may have." + tryAgain}},
	ClaimSessions:      {Balancer, "claim_sessions", "", &Refusal{Status: tooMany, Message: "You have all the sessions you may have." + tryAgain}},
	QueueFull:          {Balancer, "queue_full", "", &Refusal{Status: unavailable, Message: "Too many wait for a server." + tryAgain}},
	QueueAddressFull:   {Balancer, "queue_address", "", &Refusal{Status: unavailable, Message: "Too many from your address wait for a server." + tryAgain}},
	QueueTimeout:       {Balancer, "queue_timeout", "", &Refusal{Status: unavailable, Message: "No server had room in time." + tryAgain}},

	NoBackend:       {Balancer, "no_backend", "no_backend", &Refusal{Status: unavailable, Message: "No server is up." + tryAgain}},
	PoolFull:        {Balancer, "pool_full", "pool_full", &Refusal{Status: unavailable, Message: "Every server has all the sessions it may have." + tryAgain}},
	AffinityRefused: {Balancer, "affinity_refused", "", &Refusal{Status: unavailable, Message: "Your server is not available." + tryAgain}},

	NoResources:    {Balancer, "too_many_sessions", "unreachable", &Refusal{Status: unavailable, Message: balancerFull}},
	ConnectTimeout: {Backend, "backend_silent", "unreachable", &Refusal{Status: gatewayExpiry, Message: noAnswer}},
	Unreachable:    {Backend, "backend_unreachable", "unreachable", &Refusal{Status: badGateway, Message: noAnswer}},
	BackendTLS:     {Backend, "backend_tls_failed", "tls_failed", &Refusal{Status: badGateway, Message: noAnswer}},
	AnswerTimeout:  {Backend, "backend_silent", "silent", &Refusal{Status: gatewayExpiry, Message: noAnswer}},
	Silent:         {Backend, "backend_silent", "silent", &Refusal{Status: badGateway, Message: noAnswer}},
	Broken:         {Backend, "backend_broken", "broken", &Refusal{Status: badGateway, Message: brokenAnswer}},
	Declined:       {Backend, "backend_declined", "refused", nil},
	Different:      {Backend, "", "different", nil},

	ReattachOff:     {Balancer, "", "off", nil},
	NotKept:         {Balancer, "", "not_kept", nil},
	NotNeeded:       {Balancer, "", "not_needed", nil},
	Rejected:        {Backend, "", "rejected", nil},
	WaitedTooLong:   {Balancer, "", "waited", nil},
	TakenBack:       {Balancer, "", "taken_back", nil},
	ReattachTimeout: {Balancer, "", "timeout", nil},
	NoBoundary:      {Client, "", "no_boundary", nil},
	MessageCut:      {Backend, "", "message_cut", nil},
	SessionEnded:    {Client, "", "client_gone", nil},
}

// Side is where the cause is.
func (c Code) Side() Side { return table[c].side }

// Result is the word for a handshake that failed so: the label of
// holdfast_handshakes_total. It is "" for NothingAsked, which isn't counted, and
// for a code that is for moves alone.
func (c Code) Result() string { return table[c].result }

// Reattach is the word for a session that could not be moved: the label of
// holdfast_reattach_total. It is "" for a code that can't end a move.
func (c Code) Reattach() string { return table[c].reattach }

// Results lists what Result returns, each word once, in the order of the codes.
func Results() []string { return words(Code.Result) }

// ReattachResults lists what Reattach returns, each word once, in the order of
// the codes.
func ReattachResults() []string { return words(Code.Reattach) }

func words(of func(Code) string) (all []string) {
	seen := map[string]bool{"": true}
	for c := range codes {
		if word := of(c); !seen[word] {
			seen[word] = true
			all = append(all, word)
		}
	}
	return all
}
