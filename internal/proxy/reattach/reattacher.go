// Package reattach finds another backend for a live session: when its backend
// drains, is lost, or has too many sessions. It is the second half of a
// handshake, with the client's half saved from the beginning of the session.
//
// The engine (internal/relay) decides when a session is moved, calls the methods
// of relay.Reattacher here, and exchanges the connections. Which backends may be
// asked is up to the retry policy (internal/retry).
package reattach

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// Watcher is told what happens to sessions. Its methods are called on event loops
// and must not block.
type Watcher interface {
	// SessionCame is called when a session has been moved to a backend, which
	// must still show that it keeps it.
	SessionCame(backend uint32)
	// SessionMoved is called at the end of each attempt to move a session.
	SessionMoved(Move)
	// SessionNotKept is called for a session that can't be given another
	// backend, since its handshake is too large to be saved.
	SessionNotKept(session.Info)
	// TraceMove reports whether the moves of a session are traced.
	TraceMove(session.ID) bool
}

// Options of a Reattacher. All functions are called on event loops and must not
// block.
type Options struct {
	// Generation is the one that searches go by now.
	Generation func() *generation.Generation
	Watcher    Watcher
	// Release releases a lease on a backend that a session has left, or was not
	// moved to.
	Release func(backend uint32)
	// BackendName is the name of a backend that has sessions; "" if it is not
	// known.
	BackendName func(backend uint32) string
	Log         *slog.Logger
}

// Reattacher is a relay.Reattacher. What it has of a session isn't part of a
// generation, as sessions aren't.
type Reattacher struct {
	Options
	handshakes   savedHandshakes
	reservations reservations
	left         sync.Map // session.ID to the name of the backend it has left, between Swapped and Moved
	traces       sync.Map // session.ID to *timing.Trace, of the searches of a move
	searches     sync.Pool
}

// New makes a Reattacher.
func New(o Options) *Reattacher {
	r := &Reattacher{Options: o}
	r.searches.New = func() any { return new(search) }
	return r
}

// Keep saves the handshake of a session that begins, if its pool has reattach,
// and notes that in s, which has Info already. control means that the backend
// wants notices of moves.
func (r *Reattacher) Keep(s *relay.Start, req *attempt.Request, try *attempt.Try, name string, pool *generation.Pool) {
	if req.Upgrade.Reattach == nil || pool.Reattach == nil {
		return
	}
	head := req.HeadBytes()
	if len(head) > maxHead {
		r.Watcher.SessionNotKept(s.Info)
		return
	}
	agreed := req.Upgrade.Agreed(&try.Resp)
	r.handshakes.put(s.Info.ID, &savedHandshake{
		head: append([]byte(nil), head...), pool: name,
		protocol: string(agreed.Protocol), listed: req.Upgrade.Subprotocols != nil, deflate: agreed.Deflate,
		peer: req.Meta.Peer, local: req.Meta.Local, more: saveMeta(&req.Meta, r.Generation().ClientCert, req.Forward(), pool),
		forward: req.Forward(), grant: req.Grant,
	})
	s.Movable, s.OnLoss, s.MoveTimeout = true, pool.Reattach.Loss, pool.Reattach.Timeout
	s.Control = agreed.Control
}

// Forget drops what is saved of a session that has ended.
func (r *Reattacher) Forget(id session.ID) { r.handshakes.remove(id) }

// Kept is how many sessions' handshakes are saved.
func (r *Reattacher) Kept() int { return r.handshakes.len() }

// Reattach implements relay.Reattacher. The error is a relay.Retryable if a
// backend that was asked may do better in a moment.
func (r *Reattacher) Reattach(parent transport.Conn, m relay.ReattachRequest) (found relay.NewBackend, err error) {
	h := r.handshakes.find(m.Info.ID)
	if h == nil {
		return found, errNotSaved
	}
	s := r.newSearch(h, m)
	defer func() {
		if p := recover(); p != nil {
			r.Log.Error("panic in a handshake; its session is not moved", "panic", p, "stack", string(debug.Stack()))
			err = errInternal
		}
		if err != nil {
			s.try.Release()
			found = relay.NewBackend{}
		}
		r.put(s)
	}()
	if r.Watcher.TraceMove(m.Info.ID) {
		s.trace = timing.New()
		if before, ok := r.traces.Load(m.Info.ID); ok { // of an earlier search of this move
			s.trace = before.(*timing.Trace)
		}
		r.traces.Store(m.Info.ID, s.trace)
	}
	if err = s.run(parent); err != nil {
		return found, err
	}
	// The engine has the lease from here on. It comes back through Moved, or
	// with the session's end.
	return relay.NewBackend{Conn: s.try.Conn, ID: s.try.Choice.Backend.ID, Control: s.control,
		Early: append([]byte(nil), s.try.Early()...)}, nil
}

// Swapped implements relay.Reattacher.
func (r *Reattacher) Swapped(m relay.ReattachRequest, to uint32) {
	r.left.Store(m.Info.ID, r.BackendName(m.Info.Backend))
	r.Watcher.SessionCame(to)
	r.Release(m.Info.Backend)
}

// Moved implements relay.Reattacher.
func (r *Reattacher) Moved(m relay.ReattachRequest, to uint32, gap time.Duration, err error) {
	move := Move{ReattachRequest: m, To: to, Gap: gap, Result: resultOf(err), Err: err}
	name, swapped := r.left.LoadAndDelete(m.Info.ID)
	if swapped {
		move.From = name.(string)
	} else {
		move.From = r.BackendName(m.Info.Backend)
		if reserved := r.reservations.take(m.Info.ID); reserved != nil {
			reserved.Cancel()
		}
	}
	if trace, ok := r.traces.LoadAndDelete(m.Info.ID); ok {
		move.Trace = trace.(*timing.Trace)
		move.Trace.Finish()
	}
	// Before the lease is released, so that the name can be looked up.
	r.Watcher.SessionMoved(move)
	if !swapped && to != 0 {
		r.Release(to)
	}
}
