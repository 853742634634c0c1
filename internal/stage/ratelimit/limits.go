package ratelimit

// Limits are the rate limits of a pool's members for one kind of handshake. They are
// what a picker asks about each member (balance.RateLimits).
type Limits struct {
	Buckets []*Bucket // by member
	// Queued is for handshakes that have waited or been tried: they aren't queued
	// behind those that arrive.
	Queued bool
}

// CanTake reports whether TryTake would succeed for the i-th member now.
func (l *Limits) CanTake(i int) bool { return l.Buckets[i].CanTake(l.Queued) }

// TryTake takes a token of the i-th member. It reports false if there is none.
func (l *Limits) TryTake(i int) bool { return l.Buckets[i].TryTake(l.Queued) }
