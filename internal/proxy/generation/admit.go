package generation

import (
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
)

// admit limits the rate of handshakes to a pool's backends. The zero value
// doesn't.
type admit struct {
	Admit   *ratelimit.Limiter
	buckets []*ratelimit.Bucket // by member
	// arriving are the limits for a handshake that has just come, queued those
	// for one that has waited or been tried.
	arriving, queued balance.RateLimits
}

// SetAdmit makes the pool's WebSocket handshakes pass limiter, which outlives the
// Pool. It must be called before the Pool is used.
func (p *Pool) SetAdmit(limiter *ratelimit.Limiter) {
	p.Admit = limiter
	for _, m := range p.Picker.Members() {
		p.buckets = append(p.buckets, limiter.Bucket(m.Backend.ID, m.Backend.UpSince))
	}
	p.arriving, p.queued = &ratelimit.Limits{Buckets: p.buckets}, &ratelimit.Limits{Buckets: p.buckets, Queued: true}
}

// Bucket is that of a member. It is nil in a pool without Admit.
func (p *Pool) Bucket(member int) *ratelimit.Bucket {
	if p.Admit == nil {
		return nil
	}
	return p.buckets[member]
}

// Limits are the rate limits for a handshake; nil without Admit. One that has
// waited or been tried already isn't queued behind those that arrive.
func (p *Pool) Limits(queued bool) balance.RateLimits {
	if queued {
		return p.queued
	}
	return p.arriving
}

// TakeQueued chooses a backend for a handshake that waits in the pool's queue:
// the one with that ID, or any if it is 0. restart means that the handshake must
// choose again itself, since that backend can't take it any more.
func (p *Pool) TakeQueued(backend uint32) (c balance.Choice, restart bool, err error) {
	if backend == 0 {
		c, err = p.Picker.Take(&balance.Query{Session: true, RateLimits: p.queued})
		return c, false, err
	}
	c, ok := p.Picker.TakeMember(p.Member(backend))
	if !ok {
		return c, true, nil
	}
	c, err = takeToken(p.queued, c)
	return c, false, err
}
