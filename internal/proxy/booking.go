package proxy

import (
	"cmp"
	"runtime/debug"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// booking is the backend that a session is to be moved to once it may have
// another handshake. Its lease and its token are taken.
type booking struct {
	choice balance.Choice
	bucket *admit.Bucket
	at     time.Time // when it may
}

func (b *booking) giveBack() {
	b.choice.Backend.Release()
	b.bucket.Refund()
}

// bookings are those of the sessions that wait for their turn, in pools with
// admission alone. They stand outside generations, as sessions do.
type bookings struct {
	mu  sync.Mutex // guards the following
	all map[session.ID]*booking
}

func (bs *bookings) put(id session.ID, b *booking) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if bs.all == nil {
		bs.all = map[session.ID]*booking{}
	}
	bs.all[id] = b
}

// find returns nil for a session that has none.
func (bs *bookings) find(id session.ID) *booking {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return bs.all[id]
}

// take is find, and it is the caller's then.
func (bs *bookings) take(id session.ID) *booking {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	b := bs.all[id]
	if delete(bs.all, id); len(bs.all) == 0 {
		bs.all = nil // a map never gives memory back by itself
	}
	return b
}

// Delay implements relay.Mover: in a pool with admission a move waits as a
// handshake does, since it is one to the backend. Its place in time is certain
// from the beginning, so one that would come too late is told at once.
func (mv mover) Delay(m relay.Moving) (_ time.Duration, err error) {
	p := mv.p
	b := p.bookings.find(m.Info.ID)
	if b == nil {
		if b, err = p.book(m); b == nil {
			return 0, err
		}
		p.bookings.put(m.Info.ID, b)
	}
	return time.Until(b.at), nil
}

// book books the backend for a move; nil without an error where it needs none,
// or where it can't be moved at all, which is for Reattach to say.
func (p *Proxy) book(m relay.Moving) (b *booking, err error) {
	k := p.kept.find(m.Info.ID)
	if k == nil {
		return nil, nil
	}
	if pool := p.generation.Load().Pools[k.pool]; pool == nil || pool.Admit == nil {
		return nil, nil
	}
	t := p.newTransfer(k, m)
	defer func() {
		if r := recover(); r != nil {
			p.Log.Error("panic while a session waits to be moved; it is not", "panic", r, "stack", string(debug.Stack()))
			b, err = nil, errInternal
		}
		p.put(t.attempt)
	}()
	if err := t.prepare(); err != nil {
		return nil, err
	}
	return t.book()
}

// book takes the backend, of those that would be chosen, whose turn comes in
// time.
func (t *transfer) book() (*booking, error) {
	most := t.to.Reattach.Timeout
	if t.moving.Again {
		most = min(most, time.Until(t.moving.Deadline))
	}
	var late error
	for range maxTries {
		if err := t.takeOne(); err != nil {
			return nil, t.mayPass(cmp.Or(late, err))
		}
		bucket := t.to.buckets[t.choice.Index]
		if after, ok := bucket.Book(most); ok {
			return &booking{choice: t.choice, bucket: bucket, at: time.Now().Add(after)}, nil
		}
		t.choice.Backend.Release()
		t.tried.Add(t.choice.Index)
		late = relay.ErrMoveWaited
	}
	return nil, late
}

// takeBooked takes what is booked for the session, if that still holds.
func (t *transfer) takeBooked() bool {
	b := t.p.bookings.take(t.moving.Info.ID)
	if b == nil {
		return false
	}
	b.choice.Backend.Release() // it is taken anew, as far as it may be now
	if i := t.to.member(b.choice.Backend.ID); i >= 0 && !b.choice.Backend.Drains() {
		if t.choice, t.leased = t.to.Picker.TakeMember(i); t.leased {
			t.tries++
			return true
		}
	}
	b.bucket.Refund()
	return false
}
