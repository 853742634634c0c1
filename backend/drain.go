package backend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrDrainTimeout is wrapped by the error of Drain if there were still sessions
// after DrainTimeout.
var ErrDrainTimeout = errors.New("drain timeout exceeded")

// maxAnswerTime limits the time at the end of a drain that is reserved for the
// answers to the last Close frames.
const maxAnswerTime = 5 * time.Second

// drain is the only drain of a Backend.
type drain struct {
	ended chan struct{} // closed when err is valid
	err   error
}

// Drain closes all sessions in order. It blocks until there are none and then
// returns nil. If sessions are left after DrainTimeout, it returns an error that
// wraps ErrDrainTimeout. If ctx ends, it returns at once with an error that wraps
// the cause. Both errors say how many sessions are left.
//
//	Drain        Notice                 DrainTimeout
//	  ├─ notifying ─┼───── closing ────┬ answers ┤
//
// While notifying, health checks are answered with 503, so that the balancers
// notice. Until they do they send new sessions, which are accepted. Holdfast
// moves sessions to other servers during this time, if the pool has reattach. The
// phase is skipped if there was never a health check.
//
// While closing, handshakes are refused and sessions are closed with 1001, spread
// evenly over the time. The last fifth, but at most 5 s, is reserved for the
// clients' answers.
//
// Drain returns as soon as no session is left, but if there have been health
// checks, not before one was answered with 503. It neither stops a listener nor
// closes connections: call Shutdown of the HTTP server when Drain has returned.
// The Backend continues to answer with 503. Another call of Drain waits for the
// same drain.
func (b *Backend) Drain(ctx context.Context) error {
	b.mu.Lock()
	d, first := b.drain, b.drain == nil
	if first {
		d = &drain{ended: make(chan struct{})}
		b.drain = d
		b.phase = notifying
	}
	sessions, wasChecked := b.slots, b.wasChecked
	b.mu.Unlock()
	if !first {
		select {
		case <-d.ended:
			return d.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	notice := b.notice
	if !wasChecked {
		notice = 0
	}
	b.log.Info("draining", "sessions", sessions, "notice", notice, "timeout", b.drainTimeout)
	began := time.Now()
	d.err = b.runDrain(ctx, began.Add(notice), began.Add(b.drainTimeout))
	took := time.Since(began).Round(time.Millisecond)
	if d.err != nil {
		b.log.Warn("drain failed", "error", d.err, "took", took)
	} else {
		b.log.Info("drained", "took", took)
	}
	close(d.ended)
	return d.err
}

// runDrain runs the phases of a drain.
func (b *Backend) runDrain(ctx context.Context, noticeEnd, deadline time.Time) error {
	if empty, err := b.waitUntil(ctx, noticeEnd); empty || err != nil {
		return err
	}
	b.mu.Lock()
	b.phase = closing
	all := make([]*session, 0, len(b.sessions))
	for s := range b.sessions {
		all = append(all, s)
	}
	notJoined := b.slots - len(all)
	b.mu.Unlock()
	began := time.Now()
	spread := deadline.Sub(began)
	spread -= min(spread/5, maxAnswerTime)
	b.log.Info("closing sessions", "sessions", len(all), "spread", spread.Round(time.Millisecond))
	if notJoined > 0 {
		b.log.Warn("some sessions can't be closed because their handlers haven't called Join", "sessions", notJoined)
	}
	for i, s := range all {
		turn := began.Add(time.Duration(float64(spread) * float64(i) / float64(len(all))))
		if empty, err := b.waitUntil(ctx, turn); empty || err != nil {
			return err
		}
		b.mu.Lock()
		b.closeSession(s, goingAway, reason)
		b.mu.Unlock()
	}
	if empty, err := b.waitUntil(ctx, deadline); empty || err != nil {
		return err
	}
	return b.failDrain(ErrDrainTimeout)
}

// waitUntil waits until the time t, or until the drain is finished.
func (b *Backend) waitUntil(ctx context.Context, t time.Time) (finished bool, err error) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	for {
		if b.tryFinish() {
			return true, nil
		}
		select {
		case <-b.changed:
		case <-timer.C:
			return false, nil
		case <-ctx.Done():
			return false, b.failDrain(context.Cause(ctx))
		}
	}
}

// tryFinish reports whether the drain is finished. If so, it also begins to
// refuse handshakes, so that no session can begin after that.
func (b *Backend) tryFinish() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.slots > 0 || b.phase == notifying && b.wasChecked && !b.reported503 {
		return false
	}
	b.phase = closing
	return true
}

// failDrain ends a drain although there are sessions left. From here on
// handshakes are refused.
func (b *Backend) failDrain(cause error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.phase = closing
	return fmt.Errorf("backend: %w with sessions left: %d", cause, b.slots)
}
