// Package proxy is the spine: it takes a client's connection through the stages,
// one after another. It is the only package that knows all of them; no stage
// knows another one. internal/app makes a Proxy, and gives its Serve to the
// listeners.
//
//	listener → overload → introduce → secure → handshake → route → balance → dial → relay → closing
//	               ▲                                                  │
//	               └──────────────── ratelimit's queue ◀──────────────┘
//
// The files are:
//
//   - handshake.go: the steps of a handshake; clientHandshake.run lists them
//   - introduce.go: the header with which a proxy in front says who the client is
//   - opaque.go: the steps of a connection that has no requests, listed by runOpaque
//   - upgrade.go: the rest of a handshake for something else than a WebSocket
//   - session.go: the handshake becomes a session
//   - queue.go: the wait for a backend in a pool with admit
//   - answers.go: what the balancer answers itself: redirects to https, challenges
//     of ACME, TLS on a plain port
//   - limits.go: what a client and a listener may have
//   - outcome.go: what a refused client gets, and what is logged and counted
//   - traced.go: what a trace shows of a handshake
//   - plain.go: everything that isn't a WebSocket, which goes to net/http
//     (internal/httpproxy)
//
// The packages below it are attempt, one try at a backend; generation, how a
// backend is chosen, by the current configuration; reattach, how a live session
// gets another backend; and reservation, its token for one in a pool with admit.
package proxy

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/reattach"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
)

// Watcher is told what happens, for log and metrics. Its methods are called on
// event loops and must not block.
type Watcher interface {
	// SessionOpened is called before the engine takes the session over. Nothing of
	// its second argument but the TLS and the claims may be kept.
	SessionOpened(session.Info, Opened)
	// TLSDone is called once for each TLS handshake with a client. The result is one of
	// secure.Results, or "" if the client has sent nothing; the second argument is nil
	// unless that is secure.OK. TLSLeft is called when a client has gone, or has been
	// silent for too long, after its handshake.
	TLSDone(result string, t *transport.TLS)
	TLSLeft()
	// HandshakeDone is called once for each WebSocket handshake, and for each
	// connection that failed before it was known whether it is one; see Results.
	HandshakeDone(at Where, result string, d time.Duration)
	// AffinityDone is called for each choice in a pool with affinity; see
	// generation.AffinityResults.
	AffinityDone(pool, result string)
	// TraceHandshake is called at the beginning of each handshake: whether it is traced.
	// Then HandshakeTraced is called after HandshakeDone.
	TraceHandshake() bool
	HandshakeTraced(*timing.Trace)
	reattach.Watcher
}

// Opened is what is known about a session when it opens, beyond its session.Info.
type Opened struct {
	TLS                *transport.TLS // nil if the client doesn't speak TLS
	RequestID, TraceID []byte         // nil without; no character in them needs escaping
	Claims             claims.Claims  // those that are to be shown with the session; they may be kept
}

// Where is the pool that a request was routed to, and the backend that was chosen
// last; "" for what it didn't get to.
type Where struct{ Pool, Backend string }

// Options are what a Proxy works with. All are used as long as it lives.
type Options struct {
	Gate    *overload.Gate
	Limiter *limit.Limiter
	Engine  relay.Engine
	Watcher Watcher
	Log     *slog.Logger
	// ACMEChallenge has the answers to HTTP-01 challenges (RFC 8555 §8.3). It is
	// asked for requests whose path is that of one, on all listeners. host has no
	// port and is in lower case. It must not block, and may be nil.
	ACMEChallenge func(host, path string) (answer string, ok bool)
	// HTTPDone is called after each plain HTTP request.
	HTTPDone func(at Where, status int, d time.Duration)
	// LogHTTP reports whether a plain HTTP request has a line in the log that was answered
	// with the status, or whose answer has broken off; nil means that none has.
	LogHTTP func(status int, broken bool) bool
	// HTTPCut is called for each plain HTTP request that CutAnswers ends; it may be
	// nil.
	HTTPCut func(reason string)
	// HTTPBegins and HTTPEnds are called around the life of each connection
	// that net/http serves. They must not block, and may both be nil.
	HTTPBegins, HTTPEnds func()
	// Ended ends a session that the Watcher knows of and that the engine has not
	// taken, as the engine would. It must not block.
	Ended func(session.Summary)
	// Release releases a lease on a backend that a session has left, or was not
	// moved to. It must not block. It may be nil if no pool has Reattach.
	Release func(backend uint32)
	// BackendName is the name of a backend that has sessions, "" if it is not
	// known. It must not block, and may be nil.
	BackendName func(backend uint32) string
}

// Proxy takes connections through the stages.
type Proxy struct {
	Options
	generation atomic.Pointer[generation.Generation]
	reattacher *reattach.Reattacher
	handshakes sync.Pool // of *clientHandshake
	// lingering counts connections that overload refused and that are kept for a moment
	// so that their answer arrives. maxLingering bounds them.
	lingering    atomic.Int64
	maxLingering int64
	plain        *httpproxy.Proxy
	server       *httpproxy.Server
}

// New makes a Proxy that serves by g. Close ends it.
func New(o Options, g *generation.Generation) *Proxy {
	p := &Proxy{Options: o, maxLingering: int64(overload.Spare())}
	if o.HTTPBegins == nil {
		p.HTTPBegins, p.HTTPEnds = func() {}, func() {}
	}
	if o.BackendName == nil {
		p.BackendName = func(uint32) string { return "" }
	}
	p.handshakes.New = func() any { return new(clientHandshake) }
	p.generation.Store(g)
	p.reattacher = reattach.New(reattach.Options{Generation: p.Generation, Watcher: o.Watcher, Release: o.Release,
		BackendName: p.BackendName, Log: o.Log})
	p.Engine.SetReattacher(p.reattacher)
	p.plain, p.server = p.newPlain(g)
	go p.server.Serve()
	return p
}

// Close ends plain HTTP. Requests may go on until ctx is over. It leaves
// WebSocket sessions to the engine.
func (p *Proxy) Close(ctx context.Context) {
	if err := p.server.Shutdown(ctx); err != nil {
		p.Log.Warn("plain HTTP requests were broken off", "error", err)
	}
	p.plain.Close()
}

// Swap makes new handshakes go by g.
func (p *Proxy) Swap(g *generation.Generation) {
	p.generation.Store(g)
	p.server.SetLimits(g.ClientLimits())
}

// Generation is what new handshakes go by.
func (p *Proxy) Generation() *generation.Generation { return p.generation.Load() }

// Forget drops what is kept of a session that has ended.
func (p *Proxy) Forget(id session.ID) { p.reattacher.Forget(id) }

// Serve takes c through the stages. It is a listener's serve function.
func (p *Proxy) Serve(c transport.Conn) { p.serve(c, nil) }

// serve is Serve, also for a handshake that has waited in a queue.
func (p *Proxy) serve(c transport.Conn, waited *queuedHandshake) {
	h := p.handshakes.Get().(*clientHandshake)
	h.reset(p, c, waited)
	defer func() {
		if r := recover(); r != nil {
			p.Log.Error("panic in a handshake; its client is told 500", "panic", r, "stack", string(debug.Stack()))
			h.conclude(errInternal)
		}
		h.ticket.Leave()
		h.hold.Release()
		if waited != nil {
			waited.release()
			h.waited = nil
		}
		p.put(h)
	}()
	if h.req.Meta.Opaque() {
		h.conclude(h.runOpaque())
		return
	}
	h.conclude(h.run())
}

// put keeps h for the next use, unless its buffers have grown.
func (p *Proxy) put(h *clientHandshake) {
	if h.req.IsUsual() && h.try.IsUsual() {
		p.handshakes.Put(h)
	}
}
