package proxy

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/access"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// TestAnswers has the result word and the answer to the client of every error
// that ends a handshake. Those about the client's request itself, and about its token,
// are in the tests of the stages.
func TestAnswers(t *testing.T) {
	const noAnswer = "No server answered the handshake."
	const full = "The balancer is full. Try again later, after a random pause."
	tested := map[string]bool{ResultOpened: true, "bad_request": true, "method_not_allowed": true, "unsupported_version": true,
		"head_too_large": true, "request_timeout": true, "redirected": true, "responded": true, "tls_failed": true,
		// Those of the auth stage.
		"token_missing": true, "token_invalid": true, "token_expired": true, "claims_refused": true, "auth_denied": true}
	for _, tt := range []struct {
		err    error
		side   failure.Side
		result string
		status int
		text   string
	}{
		{read(io.EOF), failure.Client, "", 0, ""},
		{read(os.ErrDeadlineExceeded), failure.Client, "", 0, ""},
		{read(syscall.ECONNRESET), failure.Client, "client_gone", 0, ""},
		{dialed(transport.ErrHungUp), failure.Client, "client_gone", 0, ""},
		{asked(transport.ErrHungUp), failure.Client, "client_gone", 0, ""},

		{failure.New(failure.ProxyStranger, "from nowhere"), failure.Client, "proxy_stranger", 0, ""},
		{failure.New(failure.ProxyHeader, "without a header"), failure.Client, "proxy_header", 0, ""},

		{failure.New(failure.BackendTLS, "a certificate of another name"), failure.Backend, "backend_tls_failed", 502, noAnswer},

		{route.ErrNoRoute, failure.Client, "no_route", 404, "No route leads to this host and path."},
		{route.ErrBadPath, failure.Client, "bad_path", 400, "The path is malformed or can be read in more than one way."},
		{route.ErrAmbiguous, failure.Client, "ambiguous", 400, "A header field or a parameter of the query that routes look at is there several times: send it once."},
		{route.ErrMisdirected, failure.Client, "misdirected", 421, "This connection was made for another host: send the request on one of its own."},

		{(&access.Addresses{Allow: []netip.Prefix{}}).Check(netip.IPv6Loopback(), ofRoute), failure.Client, "address_refused", 403,
			"Clients of your address are not admitted here. The keys allow and deny of the route and of the listener decide that."},
		{(&access.Origins{Required: true}).Check(nil, nil), failure.Client, "origin_refused", 403,
			"Pages of this origin may not open WebSockets here. To admit them, add the origin to the key origins of the route or of the listener."},
		{access.CheckSubprotocols(nil, []string{"a"}), failure.Client, "subprotocol_refused", 403,
			"None of the subprotocols that the request offers is spoken here. The key subprotocols of the route lists them."},

		{failure.New(failure.NoTokenKeys, ""), failure.Balancer, "no_token_keys", 503, "Tokens can't be verified now. Try again later, after a random pause."},
		{failure.New(failure.AuthUnavailable, ""), failure.Balancer, "auth_unavailable", 503, "It can't be found out now who you are. Try again later, after a random pause."},

		{overload.ErrStopping, failure.Balancer, "stopping", 503, "The balancer is shutting down."},
		{overload.ErrTooManyHandshakes, failure.Balancer, "too_many_handshakes", 503, full},
		{overload.ErrTooManySessions, failure.Balancer, "too_many_sessions", 503, full},
		{overload.ErrTooManyOfAddress, failure.Balancer, "too_many_of_address", 429,
			"Too many handshakes from your address are under way. Try again later, after a random pause."},

		{limit.ErrListenerSessions, failure.Balancer, "listener_sessions", 503, full},
		{limit.ErrAddressSessions, failure.Balancer, "address_sessions", 429, "Your address has all the sessions it may have. Try again later, after a random pause."},
		{failure.New(failure.AddressRate, ""), failure.Balancer, "address_rate", 429, "New sessions from your address come too fast. Try again later, after a random pause."},
		{failure.New(failure.BodyTooLarge, "max_body is exceeded"), failure.Client, "body_too_large", 413, "The request's body is too long."},
		{limit.ErrAddressRequests, failure.Balancer, "address_requests", 429, "Your address has all the requests under way that it may have. Try again later, after a random pause."},
		{failure.New(failure.RequestRate, ""), failure.Balancer, "request_rate", 429, "Requests from your address come too fast. Try again later, after a random pause."},
		{limit.ErrAddressConnections, failure.Balancer, "address_connections", 429, "Your address has all the connections it may have. Try again later, after a random pause."},
		{limit.ErrClaimSessions, failure.Balancer, "claim_sessions", 429, "You have all the sessions you may have. Try again later, after a random pause."},

		{ratelimit.ErrQueueFull, failure.Balancer, "queue_full", 503, "Too many wait for a server. Try again later, after a random pause."},
		{ratelimit.ErrAddressFull, failure.Balancer, "queue_address", 503,
			"Too many from your address wait for a server. Try again later, after a random pause."},
		{errQueueTimeout, failure.Balancer, "queue_timeout", 503, "No server had room in time. Try again later, after a random pause."},
		{ratelimit.ErrClosed, failure.Balancer, "stopping", 503, "The balancer is shutting down."},

		{balance.ErrNoBackend, failure.Balancer, "no_backend", 503, "No server is up. Try again later, after a random pause."},
		{balance.ErrFull, failure.Balancer, "pool_full", 503, "Every server has all the sessions it may have. Try again later, after a random pause."},
		{generation.ErrAffinity, failure.Balancer, "affinity_refused", 503, "Your server is not available. Try again later, after a random pause."},

		{dialed(syscall.ECONNREFUSED), failure.Backend, "backend_unreachable", 502, noAnswer},
		{dialed(syscall.EHOSTUNREACH), failure.Backend, "backend_unreachable", 502, noAnswer},
		{dialed(os.ErrDeadlineExceeded), failure.Backend, "backend_silent", 504, noAnswer},
		{dialed(syscall.EMFILE), failure.Balancer, "too_many_sessions", 503, full},
		{asked(io.EOF), failure.Backend, "backend_silent", 502, noAnswer},
		{asked(syscall.ECONNRESET), failure.Backend, "backend_silent", 502, noAnswer},
		{asked(os.ErrDeadlineExceeded), failure.Backend, "backend_silent", 504, noAnswer},
		{checked("HTTP/1.1 200 OK"), failure.Backend, "backend_declined", 0, ""},
		{checked("HTTP/1.1 101 Switching Protocols"), failure.Backend, "backend_broken", 502, "The server's answer to the handshake broke the WebSocket protocol."},

		{errInternal, failure.Balancer, "internal_error", 500, "The balancer failed."},
		{errors.New("a bug"), failure.Balancer, "internal_error", 500, "The balancer failed."},
	} {
		f := failure.Of(tt.err)
		if f.Code.Side() != tt.side || f.Code.Result() != tt.result {
			t.Errorf("%v: %q on side %d, want %q on %d", tt.err, f.Code.Result(), f.Code.Side(), tt.result, tt.side)
		}
		var status int
		var text string
		if f.Refusal != nil {
			status, text = f.Refusal.Status, f.Refusal.Message
		}
		if status != tt.status || text != tt.text {
			t.Errorf("%v: the client is told %d %q, want %d %q", tt.err, status, text, tt.status, tt.text)
		}
		tested[tt.result] = true
	}
	for _, result := range Results() {
		if !tested[result] {
			t.Errorf("the result %q isn't tested here", result)
		}
	}
}

// read is the error of a client's connection that gives err and nothing else.
func read(err error) error {
	var r attempt.Request
	return r.Read(failing{err: err}, &generation.Generation{})
}

// dialed is the error of a connect that fails with err.
func dialed(err error) error {
	var try attempt.Try
	try.Begin(&generation.Pool{}, balance.Choice{}, nil)
	return try.Connect(nil, new(attempt.Request), &dial.Dialer{Network: noNetwork{err: err}}, time.Time{})
}

// asked is the error of a connection to a backend that gives err and nothing else.
func asked(err error) error {
	try := attempt.Try{Conn: failing{err: err}}
	try.Begin(&generation.Pool{}, balance.Choice{}, nil)
	return try.Ask(nil, nil, time.Time{})
}

type failing struct {
	transport.Conn
	err error
}

func (failing) SetDeadline(time.Time) error { return nil }
func (failing) Write(p []byte) (int, error) { return len(p), nil }
func (f failing) Read([]byte) (int, error)  { return 0, f.err }

type noNetwork struct {
	transport.Network
	err error
}

func (n noNetwork) Dial(transport.Conn, hostport.Endpoint, time.Time) (transport.Conn, error) {
	return nil, n.err
}

// checked is the error of a backend's answer without any fields.
func checked(line string) error {
	var resp httphead.Response
	if n, err := resp.Parse([]byte(line + "\r\n\r\n")); n == 0 {
		panic(err)
	}
	return handshake.CheckResponse(&resp, &handshake.Upgrade{})
}
