package app

import (
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
)

// overloads turns refusals for want of room, of which there may be thousands a second,
// into two events for each pool and reason: one when they begin and one when they have
// ended. The zero value is ready once log is set.
type overloads struct {
	log *slog.Logger

	mu     sync.Mutex // guards the following
	spells map[refusal]*spell
	timer  *time.Timer // looks for spells that are over; nil before the first
	closed bool
}

// refusal says who refuses, and why.
type refusal struct{ pool, result string }

// spell is a time with refusals.
type spell struct {
	since, last time.Time
	count       uint64
}

// calm is how long nobody must have been refused until a spell is over.
const calm = 10 * time.Second

// roomRefusals are the results of handshakes that say that the balancer, a listener or a
// pool is full. Limits for one client are not among them.
var roomRefusals = func() map[string]bool {
	m := map[string]bool{}
	for _, c := range []failure.Code{failure.TooManyHandshakes, failure.TooManySessions, failure.ListenerSessions, failure.QueueFull,
		failure.QueueTimeout, failure.PoolFull} {
		m[c.Result()] = true
	}
	return m
}()

// note is called with the result of each handshake. It doesn't block.
func (o *overloads) note(pool, result string) {
	if !roomRefusals[result] {
		return
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	r := refusal{pool, result}
	s := o.spells[r]
	if s == nil {
		if o.spells == nil {
			o.spells = map[refusal]*spell{}
		}
		s = &spell{since: now}
		o.spells[r] = s
		o.log.Warn("clients are refused for want of room", r.about()...)
		if o.timer == nil {
			o.timer = time.AfterFunc(calm, o.look)
		} else if len(o.spells) == 1 {
			o.timer.Reset(calm)
		}
	}
	s.last = now
	s.count++
}

func (r refusal) about() []any {
	about := []any{"result", r.result}
	if r.pool != "" {
		about = append(about, "pool", r.pool)
	}
	return about
}

// look ends the spells that are over.
func (o *overloads) look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for r, s := range o.spells {
		if now.Sub(s.last) >= calm {
			delete(o.spells, r)
			o.log.Info("clients are no longer refused for want of room",
				append(r.about(), "refused", s.count, "for", s.last.Sub(s.since).Round(time.Millisecond).String())...)
		}
	}
	if len(o.spells) > 0 && !o.closed {
		o.timer.Reset(time.Second)
	}
}

func (o *overloads) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.timer != nil {
		o.timer.Stop()
	}
}
