package httpproxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// attempts is an http.RoundTripper that tries one backend after another until
// a connection is made. Once it is, the request is not repeated: something of
// it may have been acted on.
type attempts struct {
	upstream  Upstream
	transport *http.Transport
	max       int
}

// What a backend may cost in memory and descriptors.
const (
	maxIdle            = 1024
	maxIdlePerBackend  = 128
	idleTimeout        = 60 * time.Second
	maxResponseHeaders = 256 << 10 // bytes
)

func newAttempts(o Options) *attempts {
	dialer := &net.Dialer{Timeout: orDefault(o.ConnectTimeout, 5*time.Second)}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &attempts{
		upstream: o.Upstream,
		max:      orDefault(o.Attempts, 3),
		// No Proxy: HTTP_PROXY is not meant for the way to backends.
		transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, addr)
				if err != nil {
					return nil, &connectError{err}
				}
				return conn, nil
			},
			Protocols:              http1,
			DisableCompression:     true,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdlePerBackend,
			IdleConnTimeout:        idleTimeout,
			ResponseHeaderTimeout:  orDefault(o.ResponseTimeout, time.Minute),
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: maxResponseHeaders,
		},
	}
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// connectError is a connection that could not be made, so nothing was sent.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// RoundTrip is part of http.RoundTripper.
func (a *attempts) RoundTrip(out *http.Request) (*http.Response, error) {
	in, _ := out.Context().Value(inKey{}).(*http.Request)
	var tried []uint32
	var failed *connectError
	for range a.max {
		target, err := a.upstream.Pick(in, tried)
		if err != nil {
			refusal := asRefusal(err)
			if failed != nil && !refusal.Final {
				break // the last that failed says more than that none is left
			}
			return nil, refusal
		}
		res, err := a.try(out, in, target)
		if err == nil || !errors.As(err, &failed) || out.Context().Err() != nil {
			return res, err
		}
		tried = append(tried, target.Key)
	}
	var timeout net.Error
	if errors.As(failed, &timeout) && timeout.Timeout() {
		return nil, &Error{Status: http.StatusGatewayTimeout, Text: "no backend accepted a connection in time"}
	}
	return nil, &Error{Status: http.StatusBadGateway, Text: "no backend could be connected to"}
}

// asRefusal makes what Pick returned an *Error.
func asRefusal(err error) *Error {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal
	}
	return &Error{Status: http.StatusServiceUnavailable, Text: "no backend is available"}
}

// try makes one attempt, and has target released in the end.
func (a *attempts) try(out, in *http.Request, target Target) (*http.Response, error) {
	release := func() {}
	if target.Release != nil {
		release = sync.OnceFunc(target.Release)
	}
	// A RoundTripper must not change the request it was given.
	url := *out.URL
	url.Host = target.Addr.String()
	sent := *out
	sent.URL = &url
	var body *requestBody
	if out.Body != nil {
		body = &requestBody{ReadCloser: out.Body, in: in, out: &sent}
		sent.Body = body
	}
	res, err := a.transport.RoundTrip(&sent)
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		// Nothing was asked to switch. ReverseProxy would tunnel it.
		res.Body.Close()
		err = errors.New("101 without an upgrade that was asked for")
	}
	var unreached *connectError
	if target.Reached != nil && (err == nil || errors.As(err, &unreached)) {
		target.Reached(err)
	}
	if err != nil {
		release()
		if body != nil && body.broken() {
			err = &Error{Status: http.StatusBadRequest, Text: "the request's body is broken or broke off"}
		}
		return nil, err
	}
	if target.SetCookie != "" {
		res.Header.Add("Set-Cookie", target.SetCookie)
	}
	res.Body = &responseBody{res.Body, release}
	return res, nil
}

// requestBody is the client's body on its way out.
//
// A transport closes the body when it could not connect, after which another
// attempt would have none: so that Close is held back until the body was
// first read. (ReverseProxy closes it in any case.) And the trailers, known
// with the end of the body only, are passed from in to out.
type requestBody struct {
	io.ReadCloser
	in, out *http.Request

	mu   sync.Mutex // guards the following: Close may come during a Read
	read bool
	err  error // of the last Read
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && b.out.Trailer != nil {
		maps.Copy(b.out.Trailer, b.in.Trailer)
	}
	b.mu.Lock()
	b.err = err
	b.mu.Unlock()
	return n, err
}

func (b *requestBody) Close() error {
	b.mu.Lock()
	read := b.read
	b.mu.Unlock()
	if !read {
		return nil
	}
	return b.ReadCloser.Close()
}

// broken tells that the client's body could not be read to its end, unless
// that is because it was closed meanwhile.
func (b *requestBody) broken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil && b.err != io.EOF && !errors.Is(b.err, http.ErrBodyReadAfterClose)
}

// responseBody is a backend's body on its way to the client.
type responseBody struct {
	io.ReadCloser
	release func()
}

func (b *responseBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
