package backend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrDrainTimeout is what Drain's error wraps when sessions were left at the
// end of DrainTimeout.
var ErrDrainTimeout = errors.New("the drain's time is over")

// maxRest is the most that is kept back of a drain's end for the answers to
// the last Close frames.
const maxRest = 5 * time.Second

// drain is the one that a Backend has.
type drain struct {
	ended chan struct{} // closed when err is valid
	err   error
}

// Drain empties the server, and returns when no session is left: with nil
// then, else with an error that says how many, and wraps ErrDrainTimeout or
// the cause of ctx's end, which ends a drain at once.
//
//	Drain        Notice                 DrainTimeout
//	  ├─ notifying ─┼───── closing ────┬─ rest ─┤
//
// While notifying, health is 503, and the balancers hear of it at their next
// check. Until then they send new sessions, which are served as ever; holdfast
// moves away what sessions it can (reattach). A server that nobody has ever
// asked for its health doesn't wait.
//
// While closing, handshakes are refused, and sessions closed with 1001, evenly
// spread. The rest, a fifth of the time but at most 5 s, is for the answers.
//
// It is over as soon as no session is left; in the notice only once somebody
// was told 503, where anybody asks. Drain neither stops a listener nor
// closes a connection: when it has returned, shut the HTTP server down. The
// Backend goes on answering 503. A second call waits for the same drain.
func (b *Backend) Drain(ctx context.Context) error {
	b.mu.Lock()
	d, mine := b.drain, b.drain == nil
	if mine {
		d = &drain{ended: make(chan struct{})}
		b.drain = d
		b.phase = notifying
	}
	left, asked := b.taken, b.asked
	b.mu.Unlock()
	if !mine {
		select {
		case <-d.ended:
			return d.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	notice := b.notice
	if !asked {
		notice = 0
	}
	b.log.Info("draining", "sessions", left, "notice", notice, "timeout", b.drainTimeout)
	began := time.Now()
	d.err = b.run(ctx, began.Add(notice), began.Add(b.drainTimeout))
	took := time.Since(began).Round(time.Millisecond)
	if d.err != nil {
		b.log.Warn("drain given up", "error", d.err, "took", took)
	} else {
		b.log.Info("drained", "took", took)
	}
	close(d.ended)
	return d.err
}

// run takes a drain that has begun through its phases.
func (b *Backend) run(ctx context.Context, noticed, deadline time.Time) error {
	if empty, err := b.waitUntil(ctx, noticed); empty || err != nil {
		return err
	}
	b.mu.Lock()
	b.phase = closing
	all := make([]*session, 0, len(b.sessions))
	for s := range b.sessions {
		all = append(all, s)
	}
	mute := b.taken - len(all)
	b.mu.Unlock()
	began := time.Now()
	spread := deadline.Sub(began)
	spread -= min(spread/5, maxRest)
	b.log.Info("closing sessions", "sessions", len(all), "spread", spread.Round(time.Millisecond))
	if mute > 0 {
		b.log.Warn("some sessions can't be closed, since their handlers haven't called Join", "sessions", mute)
	}
	for i, s := range all {
		turn := began.Add(time.Duration(float64(spread) * float64(i) / float64(len(all))))
		if empty, err := b.waitUntil(ctx, turn); empty || err != nil {
			return err
		}
		b.mu.Lock()
		b.tell(s)
		b.mu.Unlock()
	}
	if empty, err := b.waitUntil(ctx, deadline); empty || err != nil {
		return err
	}
	return b.abandoned(ErrDrainTimeout)
}

// waitUntil waits until then, or until the server is empty.
func (b *Backend) waitUntil(ctx context.Context, then time.Time) (empty bool, err error) {
	timer := time.NewTimer(time.Until(then))
	defer timer.Stop()
	for {
		if b.finish() {
			return true, nil
		}
		select {
		case <-b.changed:
		case <-timer.C:
			return false, nil
		case <-ctx.Done():
			return false, b.abandoned(context.Cause(ctx))
		}
	}
}

// finish tells whether nobody would miss the server, and if so shuts the door
// in the same step, lest somebody enters who would be cut off.
func (b *Backend) finish() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken > 0 || b.phase == notifying && b.asked && !b.told {
		return false
	}
	b.phase = closing
	return true
}

// abandoned ends a drain with sessions left. Nobody new is let in any more.
func (b *Backend) abandoned(why error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.phase = closing
	return fmt.Errorf("backend: %w with sessions left: %d", why, b.taken)
}
