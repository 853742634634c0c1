// Package auth is the stage that finds out who a client is: by its token (a JWT), by
// asking an HTTP endpoint, or both. It decides for handshakes and for requests of plain
// HTTP alike.
//
// Errors are *failure.Error. Neither they nor anything else here shows a token.
package auth

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/wire/bearer"
)

// Policy is what a route asks of its clients. It is immutable. Either may be nil.
type Policy struct {
	JWT     *JWT
	Request *Request
}

// Asked is a request to be permitted. attempt.Request and generation.PlainRequest are
// part of one.
type Asked struct {
	bearer.Request
	Method string
	URL    string // as the client asked for it, with the scheme and the host
	Client string // its address
}

// Waiter waits, on behalf of a request, until the function that start gets was called. It
// fails if the client goes away, and if that takes too long.
type Waiter func(start func(done func())) error

// Grant is what was found out about a client that is permitted. It is immutable. nil is
// that of a route without a Policy.
type Grant struct {
	// Claims are all claims of the token; Session are those that are shown with the
	// session.
	Claims, Session claims.Claims
	// Expires is when the session ends; zero if the token doesn't end it.
	Expires time.Time
	// Fields are names and values of header fields for the backend. Copies of them that the client sends
	// must be removed, see Reserved.
	Fields [][2]string

	sources []bearer.Source // that may have tokens
	strip   bool            // whether the backend gets none of them
	word    string          // the subprotocol before the token, if it came that way
}

// Permit decides whether a client may have what it asks for. wait is used for what may
// take long: a key that isn't known yet, and the answer of an endpoint.
func (p *Policy) Permit(r *Asked, wait Waiter) (*Grant, error) {
	g := new(Grant)
	if p.JWT != nil {
		if err := p.JWT.permit(r, wait, g); err != nil {
			return nil, err
		}
	}
	if p.Request != nil {
		if err := p.Request.permit(r, wait, g); err != nil {
			return nil, err
		}
	}
	return g, nil
}
