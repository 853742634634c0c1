// Package httpproxy serves plain HTTP that comes on the same port as WebSockets.
// Server is a net/http server that is handed its connections one by one; Proxy
// passes their requests on to backends. Which backend that is, the spine
// (internal/proxy) decides, through Upstream.
package httpproxy

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a Proxy.
type Options struct {
	Upstream Upstream
	// Prepare is called once for each request, before all else. The request that it
	// returns, which is the same one with another context, is given to the functions
	// below. nil changes nothing.
	Prepare func(r *http.Request) *http.Request
	// Finish is called at the end of each request, with what Prepare has returned; it may
	// be nil.
	Finish func(r *http.Request)
	// Permit is called once for each request, before the first Pick. If it returns
	// an error, the request goes to no backend; if that is an *Error, the client gets
	// that answer, otherwise a 503. nil permits all.
	Permit func(r *http.Request) error
	// EditRequest sets what the backend is told about the client, after Pick. out
	// has none of the reserved fields; in.Header is what the client sent. nil sets
	// nothing.
	EditRequest func(out http.Header, in *http.Request)
	// EditAnswer changes the header of an answer before it is sent: a backend's, or
	// with own one of the balancer's. nil changes nothing.
	EditAnswer func(header http.Header, in *http.Request, own bool)
	// Target is what a backend is asked for, after Pick: a host, and a target in
	// origin-form. nil means what the client has asked for.
	Target func(in *http.Request) (host, target string)
	// IsReserved reports whether a client may not send a field of that name to a
	// backend, in the header or as a trailer. nil means that it may send all.
	IsReserved func(in *http.Request, name string) bool
	// Timeouts are those of a request that begins now; nil means the defaults.
	Timeouts func(in *http.Request) Timeouts
	// Via reports whether requests get a Via field (RFC 9110 §7.6.3); nil means
	// that they do.
	Via func() bool
	// MaxIdle bounds the idle connections to all backends; 0 means 1,024.
	MaxIdle int
	// Attempts is how many backends are tried for a request; 0 means 3.
	Attempts int
	// Done is called after each request. It may be nil.
	Done func(in *http.Request, d Done)
	// Cut is called for each request that CutAnswers ends, with its reason. It
	// may be nil.
	Cut func(reason string)
	// Client is the client that sent a request, for the log; nil means the
	// connection's other end.
	Client func(r *http.Request) string
	// About has more pairs for the log line of a request; it may be nil.
	About func(r *http.Request) []any
	// Log must not be nil.
	Log *slog.Logger
}

// Proxy is an http.Handler that passes requests on to backends. It should live as
// long as the process, since it keeps connections to backends for later requests.
type Proxy struct {
	o       Options
	conns   backendConns
	running running
	buffers buffers
}

// New makes a Proxy; Close frees its connections.
func New(o Options) *Proxy {
	return &Proxy{o: o, conns: backendConns{most: cmp.Or(o.MaxIdle, 1024)}}
}

// Close closes the connections to backends that no request uses.
func (p *Proxy) Close() { p.conns.close() }

func (p *Proxy) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	if p.o.Prepare != nil {
		in = p.o.Prepare(in)
	}
	if p.o.Finish != nil {
		defer p.o.Finish(in)
	}
	answer, began := &statusRecorder{ResponseWriter: w}, time.Now()
	t := new(progress)
	if p.o.Done != nil {
		// Deferred, since an answer that breaks off ends with a panic.
		defer func() {
			p.o.Done(in, Done{Pool: t.pool, Backend: t.backend, Status: answer.status, Bytes: answer.bytes, Broken: t.broken != nil, Took: time.Since(began)})
		}()
	}
	if in.Method == http.MethodConnect {
		p.o.editAnswer(answer, in, true)
		http.Error(answer, "405: CONNECT is not supported here", http.StatusMethodNotAllowed)
		return
	}
	defer func() {
		if t.broken != nil && in.Context().Err() == nil { // the client is still there
			p.logFailure(in, t, answer.status, t.broken)
		}
	}()
	if in.ContentLength != 0 {
		// Otherwise net/http reads the body before it passes an answer on.
		http.NewResponseController(w).EnableFullDuplex()
	}
	if err := p.forward(answer, in, t); err != nil {
		p.fail(answer, in, t, err)
	}
}

// Done is how a request ended.
type Done struct {
	Pool, Backend string // chosen last; "" if none was
	Status        int    // that was sent; 0 if none was
	Bytes         int64  // of the answer's body that were sent
	Broken        bool   // the answer has broken off
	Took          time.Duration
}

// progress is how far a request has come, for the log.
type progress struct {
	pool, backend string // chosen last; "" if none was
	broken        error  // of reading the answer's body
}

// Requests is the number of requests that are at a backend now.
func (p *Proxy) Requests() int { return p.running.len() }

// Cut says which requests to end that are at a backend, and when.
type Cut struct {
	// Which selects them by the Target's Backend, and by whether the answer is
	// an event stream; nil selects all.
	Which func(backend uint32, events bool) bool
	// Reason is for Options.Cut.
	Reason string
	// Spread is the time over which they are ended evenly, the oldest first. The
	// last one ends at its end; with Now, the first one ends at once.
	Spread time.Duration
	Now    bool
}

// CutAnswers ends requests, unless they end by themselves before. A client that
// has no answer yet gets 503; an answer that has begun breaks off. CutAnswers
// returns how many requests it selected.
func (p *Proxy) CutAnswers(c Cut) int { return p.running.cutAll(c, p.o.Cut) }

// KeepAnswers cancels what CutAnswers has not done yet to those that which
// selects.
func (p *Proxy) KeepAnswers(which func(backend uint32, events bool) bool) { p.running.keepAll(which) }

// removeReserved removes the fields that a client may not send to a backend.
func (o *Options) removeReserved(fields http.Header, in *http.Request) {
	if o.IsReserved == nil {
		return
	}
	for name := range fields {
		if o.IsReserved(in, name) {
			delete(fields, name)
		}
	}
}

func (o *Options) editAnswer(w http.ResponseWriter, in *http.Request, own bool) {
	if o.EditAnswer != nil {
		o.EditAnswer(w.Header(), in, own)
	}
}

// fail answers a request that got no answer from a backend.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, t *progress, err error) {
	var refusal *Error
	if !errors.As(err, &refusal) && r.Context().Err() != nil {
		// The client has gone. Only the metrics see the 499.
		w.WriteHeader(statusClientGone)
		return
	}
	refusal = refusalOf(err)
	if !refusal.Own {
		p.logFailure(r, t, refusal.Status, err)
	}
	for _, field := range refusal.Header {
		w.Header().Set(field[0], field[1])
	}
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(refusal.RetryAfter.Seconds())))
	}
	if r.ContentLength != 0 {
		clientOf(r).endWithAnswer() // the body isn't needed
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close")
		}
	}
	p.o.editAnswer(w, r, true)
	if refusal.ContentType != "" {
		refusal.write(w)
		return
	}
	http.Error(w, fmt.Sprintf("%d: %s", refusal.Status, refusal.Text), refusal.Status)
}

// logFailure logs a request that got no complete answer from a backend.
func (p *Proxy) logFailure(in *http.Request, t *progress, status int, err error) {
	client := in.RemoteAddr
	if p.o.Client != nil {
		client = p.o.Client(in)
	}
	about := []any{"status", status, "client", client,
		"method", in.Method, "host", in.Host, "path", in.URL.EscapedPath(), "pool", t.pool, "backend", t.backend, "error", err.Error()}
	if p.o.About != nil {
		about = append(about, p.o.About(in)...)
	}
	p.o.Log.Info("plain HTTP request failed", about...)
}

// statusClientGone is nginx's status for it.
const statusClientGone = 499

func refusalOf(err error) *Error {
	var refusal *Error
	switch {
	case errors.As(err, &refusal):
		return refusal
	case isTimeout(err):
		return &Error{Status: http.StatusGatewayTimeout, Text: "the backend did not answer in time"}
	default:
		return &Error{Status: http.StatusBadGateway, Text: "the backend's answer was broken or broke off"}
	}
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

// statusRecorder remembers the status that was sent, and how many bytes.
type statusRecorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 { // interim answers come before it
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// buffers are for bodies.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }
