package proxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/dial"
	"github.com/holdfast-ws/holdfast/internal/handshake"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/route"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Reattach says when the sessions of a pool are given other backends.
type Reattach struct {
	Drain, Loss, Rebalance bool
	Timeout                time.Duration // of one move
}

func (r *Reattach) allows(why session.Why) bool {
	switch why {
	case session.Drain:
		return r.Drain
	case session.Loss:
		return r.Loss
	case session.Rebalance:
		return r.Rebalance
	}
	return false
}

// keep keeps a's handshake where its session may be given another backend
// later, and tells the engine so.
func (a *attempt) keep(s *relay.Start) {
	pool := a.pool()
	if a.up.Reattach == nil || pool.Reattach == nil {
		return
	}
	if a.head > maxKept {
		a.p.Watcher.SessionNotKept(s.Info)
		return
	}
	agreed := a.up.Agreed(&a.resp)
	a.p.kept.put(s.Info.ID, &kept{
		head: append([]byte(nil), a.in[:a.head]...), pool: a.rule.Pool,
		protocol: string(agreed.Protocol), deflate: agreed.Deflate,
		peer: a.peer, local: a.client.LocalAddr(),
	})
	s.Movable, s.OnLoss, s.MoveTimeout = true, pool.Reattach.Loss, pool.Reattach.Timeout
}

// Forget drops what was kept of a session that has ended.
func (p *Proxy) Forget(id session.ID) { p.kept.forget(id) }

// mover is the Proxy as the engine's relay.Mover.
type mover struct{ p *Proxy }

// Reattach implements relay.Mover: the way of a session to another backend.
// That is the second half of a handshake's, with the client's half kept from
// when the session began, and by the generation of now. An error is a
// relay.NotNow where one that was asked may do better in a moment.
func (mv mover) Reattach(near transport.Conn, m relay.Moving) (found relay.Found, err error) {
	p := mv.p
	k := p.kept.find(m.Info.ID)
	if k == nil {
		return found, errNotKept
	}
	t := p.newTransfer(k, m)
	defer func() {
		if r := recover(); r != nil {
			p.Log.Error("panic in a handshake; its session is not moved", "panic", r, "stack", string(debug.Stack()))
			err = errInternal
		}
		if err != nil {
			t.release()
			found = relay.Found{}
		}
		p.put(t.attempt)
	}()
	if err = t.run(near); err != nil {
		return found, err
	}
	// The lease is the engine's from here on, and comes back through Moved or
	// with the session's end.
	return relay.Found{Backend: t.backend, ID: t.choice.Backend.ID, Early: append([]byte(nil), t.ans[t.respHead:t.respHave]...)}, nil
}

// Moved implements relay.Mover.
func (mv mover) Moved(m relay.Moving, to uint32, gap time.Duration, err error) {
	p, left := mv.p, m.Info.Backend
	if err != nil {
		left = to
		if b := p.bookings.take(m.Info.ID); b != nil {
			b.giveBack()
		}
	}
	// Before the lease is given back, so that the name can be looked up.
	p.Watcher.SessionMoved(Move{Moving: m, To: to, Gap: gap, Result: moveResult(err), Err: err})
	if left != 0 {
		p.GiveBack(left)
	}
}

// transfer is one session on its way to another backend: an attempt without a
// client. Its request is the one kept.
type transfer struct {
	*attempt
	moving relay.Moving
	kept   *kept
	to     Pool
	own    int  // the member that it has lost, where that may be asked too; else -1
	short  bool // the last deadline was the move's, not the backend's
	notNow bool // one that was asked may do better in a moment
}

func (p *Proxy) newTransfer(k *kept, m relay.Moving) *transfer {
	t := &transfer{attempt: p.attempts.Get().(*attempt), kept: k, moving: m}
	t.reset(p, nil, nil)
	return t
}

// prepare makes the kept handshake one that a backend can be chosen for.
func (t *transfer) prepare() error {
	if n, err := t.req.Parse(t.kept.head); n == 0 {
		return cmp.Or(err, errInternal) // it could be parsed before
	}
	if err := handshake.Check(&t.req, &t.up); err != nil {
		return err
	}
	t.peer = t.kept.peer
	t.reattach = handshake.Reattach{ID: t.moving.Info.ID, Why: t.moving.Why}
	t.up.Reattach = &t.reattach
	return t.aim()
}

func (t *transfer) run(near transport.Conn) error {
	if err := t.prepare(); err != nil {
		return err
	}
	var failed error // of the backend tried last
	for {
		if err := t.takeAnother(); err != nil {
			return t.mayPass(cmp.Or(failed, err))
		}
		err := t.connectFrom(near)
		if err == nil {
			err = t.exchangeAgain()
		}
		if err == nil {
			return nil
		}
		if failed = t.giveUp(err); !t.again(failed) {
			return t.mayPass(failed)
		}
	}
}

// mayPass makes a relay.NotNow of why there is no backend, where that, or why
// another that was asked is none, passes.
func (t *transfer) mayPass(err error) error {
	switch {
	case err == relay.ErrMoveOver, err == relay.ErrMoveTimeout:
		return err
	case t.notNow || passes(err, t.resp.Status):
		return relay.NotNow{Err: err}
	}
	return err
}

// aim goes by the generation of now.
func (t *transfer) aim() error {
	t.gen, t.tried = t.p.generation.Load(), balance.Tried{}
	t.rule = &route.Rule{Pool: t.kept.pool} // whatever routes lead there now
	p := t.pool()
	if p == nil || p.Reattach == nil || !p.Reattach.allows(t.moving.Why) {
		return errMoveOff
	}
	// Its own backend is the one that the session is to leave, so refusing
	// any other would be to refuse them all.
	t.to = *p
	t.to.Refuse = false
	t.own = p.member(t.moving.Info.Backend)
	if t.own >= 0 && !t.moving.Again { // else it was lost, and may be there again
		t.tried.Add(t.own)
		t.own = -1
	}
	return nil
}

// takeAnother takes what is booked, or chooses as for a new session where there
// is nothing. In a pool with admission that is for the second backend asked, and
// doesn't wait: it only has those that come later wait for longer.
func (t *transfer) takeAnother() error {
	if t.takeBooked() {
		return nil
	}
	err := t.takeOne()
	if err != nil && t.gen != t.p.generation.Load() {
		// A reload has replaced the backends since.
		if err := t.aim(); err != nil {
			return err
		}
		err = t.takeOne()
	}
	if err != nil {
		return err
	}
	t.leased = true
	t.tries++
	if t.to.Admit != nil {
		t.to.buckets[t.choice.Index].Spend()
	}
	return nil
}

func (t *transfer) takeOne() (err error) {
	if t.moving.Why == session.Rebalance {
		t.choice, err = t.to.takeBelow((*attemptRequest)(t.attempt), t.tried)
		return err
	}
	q := balance.Query{Tried: t.tried}
	if t.own >= 0 {
		q.Own = t.to.Picker.Members()[t.own].Backend
	}
	t.choice, _, _, err = t.to.takeAt(nil, (*attemptRequest)(t.attempt), q)
	return err
}

func (t *transfer) connectFrom(near transport.Conn) (err error) {
	t.asked = time.Now()
	t.backend, err = t.gen.Dial.Connect(near, t.choice.Addr, t.within(t.gen.Dial.Timeout+t.gen.Handshake))
	return err
}

// exchangeAgain is the handshake, which must come out as the first one did.
func (t *transfer) exchangeAgain() error {
	t.reattach.Attempt = t.tries
	t.writeRequest(t.kept.local)
	if err := t.ask(t.within(t.gen.Handshake)); err != nil {
		return err
	}
	if !t.up.Agreed(&t.resp).Same(t.kept.agreed()) {
		return errDifferent
	}
	return nil
}

// within is when d has passed, or the time for the move if that is sooner. The
// backend that was lost may hang: it gets no more than half of that time, or
// another that comes up meanwhile would not be seen.
func (t *transfer) within(d time.Duration) time.Time {
	if t.choice.Index == t.own {
		d = min(d, time.Until(t.moving.Deadline)/2)
	}
	at := time.Now().Add(d)
	if t.short = at.After(t.moving.Deadline); t.short {
		return t.moving.Deadline
	}
	return at
}

// giveUp gives back what the backend tried last held, and says what its error
// means for the move. A backend is not blamed for a move that was broken off.
func (t *transfer) giveUp(err error) error {
	t.release()
	switch {
	case t.short && errors.Is(err, os.ErrDeadlineExceeded):
		return relay.ErrMoveTimeout
	case errors.Is(err, transport.ErrHungUp), errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return relay.ErrMoveOver // the engine has ended the task
	}
	if !t.blame(err) {
		t.tried.Add(t.choice.Index)
	}
	t.notNow = t.notNow || passes(err, t.resp.Status)
	return err
}

// again reports whether the next choice is worth a try. Unlike a client, a
// session has nothing to lose by asking another one after any answer.
func (t *transfer) again(err error) bool {
	var unreached *dial.Error
	switch {
	case err == relay.ErrMoveOver, err == relay.ErrMoveTimeout:
		return false
	case errors.As(err, &unreached) && unreached.Reason == dial.Local:
		return false
	}
	again := t.tries < maxTries
	level := slog.LevelWarn
	if t.moving.Again {
		level = slog.LevelDebug // the first look has told, and the end will
	}
	t.p.Log.Log(context.Background(), level, "a backend doesn't take over a session", "id", t.moving.Info.ID.String(), "pool", t.choice.Backend.Pool,
		"backend", t.choice.Backend.Name, "address", t.choice.Addr.String(), "reattach", t.moving.Why.String(), "error", err, "next", again)
	return again
}
