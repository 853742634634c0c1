package httpproxy

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// client is who sent a request: a *clientConn, or a *stream of an HTTP/2
// connection.
type client interface {
	// about is what Server.Hand was given.
	about() transport.Meta
	// refused is the error with which the request is to be answered, if there are
	// too many; otherwise nil.
	refused() error
	// onHalfClosed calls tell when the client has closed its half, at once if it
	// has already. The caller must call forget to end that.
	onHalfClosed(tell func()) (forget func())
	// endWithAnswer is called if the request is not read completely, and the rest
	// isn't needed.
	endWithAnswer()
	// stopWriting makes a Write that waits fail, and all later ones.
	stopWriting()

	// Connections to backends for this client alone, since it has logged in on them (see
	// login.go) or since a Target.Header is about it: the IDs of those with a login, the
	// one to target, or nil, and one to be kept.
	backends() (ids []uint32)
	takeDedicated(target *Target) *backendConn
	putDedicated(conn *backendConn, timeout time.Duration)
}

type (
	clientKey struct{} // of a client
	connKey   struct{} // of an *http2Conn
)

// clientOf is the client of a request.
func clientOf(r *http.Request) client {
	if c, ok := r.Context().Value(clientKey{}).(client); ok {
		return c
	}
	return &clientConn{} // of a server that isn't ours
}

// MetaOf returns what Server.Hand was given for the connection of r. It is zero
// for a request of another server.
func MetaOf(r *http.Request) transport.Meta { return clientOf(r).about() }

// connContext is the ConnContext of each http.Server.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	switch c := conn.(type) {
	case *clientConn:
		return context.WithValue(ctx, clientKey{}, client(c))
	case *http2Conn:
		return context.WithValue(ctx, connKey{}, c) // its requests have a client each
	}
	return ctx
}
