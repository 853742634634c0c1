package ratelimit

import "time"

// retryInterval is how often a backend is tried again that has a token and yet
// can't be taken, since it is down or full.
const retryInterval = 20 * time.Millisecond

// notification is for a handshake that has left the queue.
type notification struct {
	handshake Handshake
	timeout   bool
}

// step starts as many handshakes as there are tokens. Its loop runs while
// somebody waits. Nothing else calls Start and TimedOut, so they are called in
// order.
func (p *Limiter) step() (wait time.Duration, more bool) {
	p.mu.Lock()
	wait = p.dequeueReady()
	calls := p.notifications
	p.notifications = p.notifications[:0]
	if len(calls) == 0 && p.queue.waiting == 0 {
		p.running, p.notifications = false, nil
		p.hooks.End()
		p.mu.Unlock()
		return 0, false
	}
	p.mu.Unlock()
	for i := range calls {
		if calls[i].timeout {
			calls[i].handshake.TimedOut()
		} else {
			calls[i].handshake.Start()
		}
		calls[i] = notification{}
	}
	if len(calls) > 0 {
		wait = 0 // the calls may have taken long enough for new tokens
	}
	return wait, true
}

// dequeueReady removes all that may start or have timed out, and returns how long
// to wait before the next look. mu must be held.
func (p *Limiter) dequeueReady() time.Duration {
	now := p.clock.Now()
	for w := p.queue.deadlines.first; w != nil && (p.closed || w.deadline <= now.Sub(p.start)); w = p.queue.deadlines.first {
		p.dequeue(w, !p.closed)
	}
	o := p.options.Load()
	for l := p.queue.next(); l != nil; l = p.queue.next() {
		// The bucket of the backend may have been forgotten.
		if w := l.head(); (l.bucket == nil || l.bucket.CanTake(true)) && w.handshake.TryStart() {
			p.dequeue(w, false)
			continue
		}
		l.blocked = true
	}
	if p.queue.waiting == 0 {
		return 0
	}
	sleep := min(p.queue.deadlines.first.deadline-now.Sub(p.start), time.Second)
	for _, l := range p.queue.backends {
		l.blocked = false
		switch {
		case l.backend == 0:
			for _, b := range p.buckets {
				sleep = min(sleep, untilRetry(b, o, now))
			}
		default:
			sleep = min(sleep, untilRetry(l.bucket, o, now))
		}
	}
	return max(sleep, time.Millisecond)
}

// untilRetry is how long to wait before looking at the bucket again.
func untilRetry(b *Bucket, o *Options, now time.Time) time.Duration {
	if b == nil {
		return retryInterval
	}
	if next := b.untilToken(o, now); next > 0 {
		return next
	}
	return retryInterval
}

// dequeue removes w from the queue; step notifies it.
func (p *Limiter) dequeue(w *Entry, timeout bool) {
	p.remove(w, !timeout)
	p.notifications = append(p.notifications, notification{w.handshake, timeout})
}
