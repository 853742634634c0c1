// Package proxy is the spine: it knows every stage and takes a connection
// through them, one after another. No stage knows another.
//
//	listener → handshake → admission → route → balance → dial → relay → closing
//	                 ▲                             │
//	                 └──────── admit's queue ◀─────┘
package proxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admission"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/dial"
	"github.com/holdfast-ws/holdfast/internal/forwarded"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/route"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Generation is what one configuration came to. It is immutable; a reload
// makes another and swaps a pointer. A handshake keeps to the one it began
// with, and an open session to none.
type Generation struct {
	Number    uint64
	Routes    *route.Table
	Pools     map[string]*Pool
	Labels    map[string]uint32 // of the rules' labels, in session.Names
	Forwarded *forwarded.Policy
	Limits    relay.Limits
	Dial      dial.Dialer
	Handshake time.Duration // for a client's head, and for a backend's answer
}

// Watcher hears of what the spine does, for log and metrics. Its methods are
// called on event loops and must not block.
type Watcher interface {
	// SessionOpened is called before the engine takes the session over.
	SessionOpened(session.Info)
	// HandshakeDone is called once for each WebSocket handshake; see Results.
	HandshakeDone(result string, d time.Duration)
	// AffinityDone is called for each choice in a pool with affinity; see
	// AffinityResults.
	AffinityDone(result string)
	// SessionMoved is called at the end of each attempt to give a session
	// another backend.
	SessionMoved(Move)
	// SessionNotKept is called for a session that can't be given another
	// backend, since its handshake is too large to be kept.
	SessionNotKept(session.Info)
}

// Options are what a Proxy works with. All are used as long as it lives.
type Options struct {
	Gate    *admission.Gate
	Engine  relay.Engine
	Watcher Watcher
	Log     *slog.Logger
	// HTTPDone hears of plain HTTP requests.
	HTTPDone func(status int, d time.Duration)
	// HTTPBegins and HTTPEnds are called around the life of each connection
	// that net/http serves. They must not block, and may both be nil.
	HTTPBegins, HTTPEnds func()
	// GiveBack gives back a lease on a backend that a session has left, or
	// was not moved to. It must not block. It may be nil where no pool has
	// Reattach.
	GiveBack func(backend uint32)
}

// Proxy takes connections through the stages.
type Proxy struct {
	Options
	generation atomic.Pointer[Generation]
	attempts   sync.Pool // of *attempt
	kept       keptTable
	bookings   bookings
	plain      *httpproxy.Proxy
	server     *httpproxy.Server
}

// New makes a Proxy that serves g. Close ends it.
func New(o Options, g *Generation) *Proxy {
	p := &Proxy{Options: o}
	if o.HTTPBegins == nil {
		p.HTTPBegins, p.HTTPEnds = func() {}, func() {}
	}
	p.attempts.New = newAttempt
	p.generation.Store(g)
	p.Engine.SetMover(mover{p})
	p.plain, p.server = p.newPlain(g)
	go p.server.Serve()
	return p
}

// Close ends the plain HTTP side: requests come to their end until ctx is over.
// WebSocket sessions are the engine's.
func (p *Proxy) Close(ctx context.Context) {
	if err := p.server.Shutdown(ctx); err != nil {
		p.Log.Warn("plain HTTP requests were broken off", "error", err)
	}
	p.plain.Close()
}

// Swap makes g what handshakes from now on go by.
func (p *Proxy) Swap(g *Generation) { p.generation.Store(g) }

// Generation is what handshakes go by now.
func (p *Proxy) Generation() *Generation { return p.generation.Load() }

// Serve takes c through the stages. It is a listener's serve function.
func (p *Proxy) Serve(c transport.Conn) { p.serve(c, nil) }

// serve is Serve, for one that has waited in a queue, too.
func (p *Proxy) serve(c transport.Conn, waited *waiting) {
	a := p.attempts.Get().(*attempt)
	a.reset(p, c, waited)
	defer func() {
		if r := recover(); r != nil {
			p.Log.Error("panic in a handshake; its client is told 500", "panic", r, "stack", string(debug.Stack()))
			a.conclude(errInternal)
		}
		a.ticket.Leave()
		if waited != nil {
			waited.giveBack()
			a.waited = nil
		}
		p.put(a)
	}()
	a.conclude(a.run())
}

// put keeps an attempt for the next use.
func (p *Proxy) put(a *attempt) {
	if len(a.in)+len(a.ans) == 2*usualHead { // a large one would be kept for small heads
		p.attempts.Put(a)
	}
}

// run is the way of one connection. An error ends it there; what the client is
// told and what is counted follow from the error.
func (a *attempt) run() error {
	if err := a.enter(); err != nil { // admission
		return err
	}
	if err := a.readRequest(); err != nil { // handshake, the client's half
		return err
	}
	if !a.isWebSocket() {
		return a.handToHTTP()
	}
	if err := a.checkRequest(); err != nil {
		return err
	}
	if err := a.chooseRoute(); err != nil { // route
		return err
	}
	var failed error // of the backend tried last
	for {
		err := a.takeBackend() // balance
		switch {
		case err == nil:
		case errors.Is(err, balance.ErrHeld):
			return a.wait() // admit; it comes back to the beginning
		case errors.Is(err, errSticky):
			return err // no other was wanted, whatever its own failed with
		default:
			// A backend that failed says more than that none is left.
			return cmp.Or(failed, err)
		}
		err = a.connect() // dial
		if err == nil {
			err = a.exchange() // handshake, the backend's half
		}
		if err == nil {
			break
		}
		if again := a.giveUpBackend(err); !again {
			return err
		}
		failed = err
	}
	return a.relay() // relay; closing hears of its end
}
