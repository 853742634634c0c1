// Package httpproxy serves the plain HTTP that comes on the same port as the
// WebSockets: httputil.ReverseProxy with one pool of connections to the
// backends, and an http.Server that is handed its connections one by one.
package httpproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a Proxy.
type Options struct {
	Upstream Upstream
	// SetForwarded sets X-Forwarded-* and Forwarded on the request that goes
	// out, and takes out what else a client may not say to a backend. out has
	// none of the former yet; what the client sent is in in.Header. nil does
	// nothing.
	SetForwarded func(out http.Header, in *http.Request)
	// ConnectTimeout bounds one attempt to connect to a backend;
	// 0 means 5 seconds.
	ConnectTimeout time.Duration
	// ResponseTimeout bounds the wait for the head of an answer once the
	// request was sent; 0 means 60 seconds.
	ResponseTimeout time.Duration
	// Attempts is how many backends are tried for a request; 0 means 3.
	Attempts int
	// Done is called after each request with the status that was sent; nil
	// is allowed.
	Done func(status int, d time.Duration)
	// Log must be given.
	Log *slog.Logger
}

// Proxy is an http.Handler that passes requests on to backends. It is made to
// live as long as the process: its connection pool is of use for later
// requests only.
type Proxy struct {
	o       Options
	reverse *httputil.ReverseProxy
	attempt *attempts
}

// New makes a Proxy; Close frees its connections.
func New(o Options) *Proxy {
	p := &Proxy{o: o, attempt: newAttempts(o)}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       p.rewrite,
		Transport:     p.attempt,
		FlushInterval: -1, // what a backend sends is passed on at once
		ErrorHandler:  p.fail,
		ErrorLog:      slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		BufferPool:    &buffers{},
	}
	return p
}

// Close closes the connections to backends that no request uses.
func (p *Proxy) Close() { p.attempt.transport.CloseIdleConnections() }

func (p *Proxy) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	answer, began := &answer{ResponseWriter: w}, time.Now()
	w = answer
	if p.o.Done != nil {
		// Deferred, as ReverseProxy ends a broken answer with a panic.
		defer func() { p.o.Done(answer.status, time.Since(began)) }()
	}
	if in.Method == http.MethodConnect {
		http.Error(w, "405: CONNECT is not supported here", http.StatusMethodNotAllowed)
		return
	}
	r := in.WithContext(context.WithValue(in.Context(), inKey{}, in))
	// ReverseProxy would tunnel whatever a backend upgrades to. To decline is
	// to ignore the header (RFC 9110 section 7.8).
	if in.Header["Upgrade"] != nil {
		r.Header = in.Header.Clone()
		r.Header.Del("Upgrade")
	}
	p.reverse.ServeHTTP(w, r)
}

// inKey finds the request as it came in the context of the one that goes out.
type inKey struct{}

func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	// The backend's address is set for each attempt; Host stays as it is.
	r.Out.URL.Scheme = "http"
	// ReverseProxy drops what it can't parse. That guards proxies that decide
	// by the query, which this one doesn't.
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	for _, name := range []string{"X-Forwarded-Port", "Http2-Settings"} {
		r.Out.Header.Del(name)
	}
	if p.o.SetForwarded != nil {
		in, _ := r.In.Context().Value(inKey{}).(*http.Request)
		p.o.SetForwarded(r.Out.Header, in)
	}
}

// fail answers a request that got no answer from a backend.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		// The client has gone. 499 is nobody's to see but the metrics'.
		w.WriteHeader(statusClientGone)
		return
	}
	refusal := refusalOf(err)
	p.o.Log.Info("plain HTTP request failed", "method", r.Method, "host", r.Host, "path", r.URL.Path,
		"status", refusal.Status, "error", err.Error())
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(refusal.RetryAfter.Seconds())))
	}
	http.Error(w, fmt.Sprintf("%d: %s", refusal.Status, refusal.Text), refusal.Status)
}

// statusClientGone is what nginx calls it.
const statusClientGone = 499

func refusalOf(err error) *Error {
	var refusal *Error
	var timeout net.Error
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &Error{Status: http.StatusGatewayTimeout, Text: "the backend did not answer in time"}
	default:
		return &Error{Status: http.StatusBadGateway, Text: "the backend's answer was broken or broke off"}
	}
}

// IsWebSocket tells that a request asks for an upgrade to a WebSocket, rightly
// or not. HTTP/1.0 knows no upgrades (RFC 9110 section 7.8).
func IsWebSocket(r *http.Request) bool {
	return r.ProtoAtLeast(1, 1) && hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

// hasToken looks for a token in lists (RFC 9110 section 5.6.1).
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for word := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.Trim(word, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// answer remembers the status that was sent, and drops a backend's 100.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if status == http.StatusContinue {
		// A backend's 100 makes the transport read the body, at which
		// http.Server sends one. Two would race.
		return
	}
	if a.status == 0 && status >= 200 { // interim answers come before it
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// buffers is the httputil.BufferPool for bodies.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }
