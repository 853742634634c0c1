package admit

import "time"

// poll is how often a backend that has a token, and yet can't be taken, is
// asked again: it is down, or has all the sessions it may have.
const poll = 20 * time.Millisecond

// call is what is told to a handshake that has left the queue.
type call struct {
	handshake Handshake
	timeout   bool
}

// turn lets handshakes go as there are tokens. Its loop runs while somebody
// waits, and is the only one that calls their Release and Timeout, so that
// these come in order.
func (p *Pool) turn() (wait time.Duration, more bool) {
	p.mu.Lock()
	wait = p.choose()
	calls := p.calls
	p.calls = p.calls[:0]
	if len(calls) == 0 && p.queue.waiting == 0 {
		p.running, p.calls = false, nil
		p.hooks.End()
		p.mu.Unlock()
		return 0, false
	}
	p.mu.Unlock()
	for i := range calls {
		if calls[i].timeout {
			calls[i].handshake.Timeout()
		} else {
			calls[i].handshake.Release()
		}
		calls[i] = call{}
	}
	if len(calls) > 0 {
		wait = 0 // what took a while may have brought tokens
	}
	return wait, true
}

// choose takes out of the queue all who may go now, or whose time is over, and
// returns how long until there may be more of them. Under mu.
func (p *Pool) choose() time.Duration {
	now := p.clock.Now()
	for w := p.queue.deadlines.first; w != nil && (p.closed || w.deadline <= now.Sub(p.began)); w = p.queue.deadlines.first {
		p.out(w, !p.closed)
	}
	o := p.options.Load()
	for l := p.queue.next(); l != nil; l = p.queue.next() {
		// A line may have a backend whose bucket is forgotten.
		if w := l.head(); (l.bucket == nil || l.bucket.Ready(true)) && w.handshake.Take() {
			p.out(w, false)
			continue
		}
		l.stuck = true
	}
	if p.queue.waiting == 0 {
		return 0
	}
	sleep := min(p.queue.deadlines.first.deadline-now.Sub(p.began), time.Second)
	for _, l := range p.queue.lines {
		l.stuck = false
		switch {
		case l.want == 0:
			for _, b := range p.buckets {
				sleep = min(sleep, until(b, o, now))
			}
		default:
			sleep = min(sleep, until(l.bucket, o, now))
		}
	}
	return max(sleep, time.Millisecond)
}

// until is when the bucket is worth another look.
func until(b *Bucket, o *Options, now time.Time) time.Duration {
	if b == nil {
		return poll
	}
	if next := b.next(o, now); next > 0 {
		return next
	}
	return poll
}

// out takes w out of the queue; turn tells it.
func (p *Pool) out(w *Waiter, timeout bool) {
	p.remove(w, !timeout)
	p.calls = append(p.calls, call{w.handshake, timeout})
}
