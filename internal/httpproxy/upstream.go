package httpproxy

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Upstream chooses where a request goes.
type Upstream interface {
	// Pick chooses a backend for r that is not in tried, which are the Keys of
	// the choices that could not be connected to. loggedIn are the Backends at
	// which r's client has logged in by its connection; one of them should be
	// chosen if possible. Pick doesn't block. If the error is an *Error, the
	// client gets that answer, otherwise a 503.
	Pick(r *http.Request, tried, loggedIn []uint32) (Target, error)
}

// Target is one choice of Upstream.
type Target struct {
	Key uint32 // identifies this choice in Pick's tried
	// Backend identifies the backend, whatever its address; 0 means none.
	Backend uint32
	Pool    string // and Name are for the log
	Name    string
	Addr    hostport.Endpoint
	// Header is sent first on each connection, before TLS, and says who the client is.
	// Only requests with the same one share a connection. It may be empty.
	Header string
	// TLS is spoken to the backend, whose name is Host; nil means plain HTTP.
	TLS  TLS
	Host string
	// Release is called once, after the answer was read completely or when there
	// will be none. It may be nil.
	Release func()
	// Reached is called with nil after the backend has answered, or with the
	// error of the connect or of TLS. It may be nil.
	Reached func(err error)
	// PassOver is called with the status of an answer, and reports whether another
	// backend is to be asked for the request instead. If Pick returns none then, the
	// answer is passed on all the same; otherwise Reached isn't called. nil is never.
	PassOver func(status int) bool
	// SetCookie is the value of a Set-Cookie field that is added to the answer;
	// empty adds none.
	SetCookie string
}

// TLS makes TLS handshakes with backends. Connections are used again only for the same
// TLS, which must be comparable.
type TLS interface {
	// Client makes the handshake with the backend host on conn, until ctx ends.
	// The result owns conn. After an error, conn is still the caller's.
	Client(ctx context.Context, conn net.Conn, host string) (net.Conn, error)
	// Rejection returns an error that explains err if that is how a backend
	// ends a connection whose handshake seemed to be done, before it has read a
	// request; otherwise nil.
	Rejection(err error) error
}

// endpoint is where a connection leads. Requests share connections only if it is the
// same.
type endpoint struct {
	addr   hostport.Endpoint
	header string
	tls    TLS
	host   string // with tls
}

func (t *Target) endpoint() endpoint {
	e := endpoint{addr: t.Addr, header: t.Header, tls: t.TLS}
	if e.tls != nil {
		e.host = t.Host
	}
	return e
}

// Error is an answer instead of a backend's.
type Error struct {
	Status int    // of HTTP
	Text   string // one line, for the client
	Reason string // for the log; "" is Text
	// RetryAfter is the value of Retry-After, in whole seconds; 0 means none.
	RetryAfter time.Duration
	Header     [][2]string // further fields
	// Own means that it is an answer as it was meant, and no failure.
	Own bool
	// ContentType is that of Text, which then is the body as it is, with any number of
	// lines; "" is for a text of the balancer's own.
	ContentType string
	// Final makes it the answer also if another backend was tried before.
	Final bool
	// Pool is the one that had no backend, or whose route refused the request; "" if no
	// pool was found.
	Pool string
}

func (e *Error) Error() string { return cmp.Or(e.Reason, e.Text) }

// write writes an answer with a ContentType. The header has all else.
func (e *Error) write(w http.ResponseWriter) {
	switch {
	case e.Status == http.StatusNoContent, e.Status == http.StatusNotModified: // RFC 9110 §8.6
		w.WriteHeader(e.Status)
		return
	case e.Text != "":
		w.Header().Set("Content-Type", e.ContentType)
	default:
		w.Header()["Content-Type"] = nil // otherwise net/http guesses one
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(e.Text)))
	w.WriteHeader(e.Status)
	io.WriteString(w, e.Text)
}
