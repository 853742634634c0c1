package relay

import (
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// The limits of a live session: what its client sends (budget.go), and how long a side
// may leave untaken what is kept for it.

// budgetOf is what side s must keep within; nil is no bound.
func (d *driver) budgetOf(slot int32, r *record, s session.Side) *budget {
	if r.marks&isLimited == 0 || s != session.Client {
		return nil
	}
	return d.conns.budget(slot)
}

// charge takes the tokens for what was passed on of the client. If none are left, it is
// throttled; or it is closed, at the next frame, unless that takes too long.
func (d *driver) charge(slot int32, r *record, b *budget, bytes int64) {
	c := &r.sides[session.Client]
	if b.end(bytes); c.flags&discardReads != 0 {
		return
	}
	if b.closes {
		if b.overdrawn() || r.marks&isOpaque != 0 && b.bytes.empty() {
			c.walker.Refuse(frame.FaultBytes)
			r.onViolation(session.Client, d.conns.Now())
		}
		return
	}
	if wait := b.wait(&c.walker); wait > 0 {
		r.marks |= isThrottled
		b.until = d.conns.Now() + eventloop.Ticks(wait)
		d.conns.hasten(slot, r, b.until)
	}
}

// isThrottling reports that side s isn't read until its time has come.
func (r *record) isThrottling(s session.Side) bool {
	return r.marks&isThrottled != 0 && s == session.Client
}

// due is when expired must be called next.
func (d *driver) due(slot int32, r *record) eventloop.Tick {
	at := r.due(d.conns.Now(), d.times)
	if r.marks&isThrottled != 0 {
		at = min(at, d.conns.budget(slot).until)
	}
	for s := range r.sides {
		at = min(at, d.slowAt(slot, r, session.Side(s)))
	}
	return at
}

// slowAt is when the time of Limits.SlowConsumer is over for side s; Never if it doesn't
// count. While the old backend of a move is read to its end, only the time of the move does.
func (d *driver) slowAt(slot int32, r *record, s session.Side) eventloop.Tick {
	slow := d.times.timeoutsOf(r).slow
	if slow == 0 || r.sides[s].pending == 0 || r.cause != session.None || s == session.Backend && r.phase == drainingOld {
		return eventloop.Never
	}
	return d.conns.waiting(slot, r, s) + slow
}

// limitsExpired does what is due for the session's limits.
func (d *driver) limitsExpired(slot int32, r *record) {
	now := d.conns.Now()
	if r.marks&isThrottled != 0 && now >= d.conns.budget(slot).until {
		r.marks &^= isThrottled
		r.sides[session.Client].lastIn = now // it wasn't read
		d.conns.resume(slot, r, session.Client)
	}
	for i := range r.sides {
		if s := session.Side(i); now >= d.slowAt(slot, r, s) {
			r.onSlow(s, session.SlowConsumerTimeout, now)
		}
	}
}

// waits is called by the engine when it keeps bytes for a side, for which none were kept
// before.
func (d *driver) waits(slot int32, r *record) {
	if slow := d.times.timeoutsOf(r).slow; slow != 0 && r.cause == session.None {
		d.conns.hasten(slot, r, d.conns.Now()+slow)
	}
}

// cutSlow ends a session for the memory that is kept for side s.
func (d *driver) cutSlow(slot int32, r *record, s session.Side) {
	now := d.conns.Now()
	r.onSlow(s, session.BacklogMemory, now)
	r.lose(s, now)
	d.settle(slot, r)
	if r.live {
		d.dropKept(slot, r, s)
	}
	d.rearm(slot, r)
}

// onSlow is called when s takes too long to take what is kept for it. It gets a Close
// behind that, and the other side is told at once. A backend that doesn't read is lost,
// as one that is silent; if that is why the session gets another one, it goes on.
func (r *record) onSlow(s session.Side, limit session.Limit, now eventloop.Tick) {
	if r.cause != session.None {
		return
	}
	r.limit = limit
	if s == session.Backend {
		r.marks |= slowBackend
		if r.survivesLoss() {
			r.onBackendLost(session.SlowConsumer, now)
			r.lose(s, now)
			return
		}
	}
	r.end(session.SlowConsumer, now)
	r.marks |= isOurs
	for i := range r.sides {
		r.sides[i].flags |= discardReads | wantFin
	}
	r.sendClose(s, CodePolicy, TooSlow, now+1)
	if s == session.Client {
		r.sendClose(session.Backend, CodeGoingAway, ClientSlow, now+1)
	} else {
		r.sendClose(session.Client, CodeTryAgainLater, BackendSlow, now+1)
	}
}
