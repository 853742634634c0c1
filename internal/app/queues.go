package app

import (
	"slices"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// setAdmit gives a pool its limiter: that of the generation before, if there was
// one.
func (a *App) setAdmit(p *config.Pool, made *generation.Pool) {
	if p.Admit == nil {
		return
	}
	q := a.queues[p.Name]
	if q == nil {
		// A goroutine releases those who wait, and needs a processor.
		q = ratelimit.New(ratelimit.Hooks{Begin: a.spare.enter, End: a.spare.leave})
		a.queues[p.Name] = q
	}
	q.Configure(ratelimit.Options(*p.Admit))
	made.SetAdmit(q)
}

// keepQueues forgets backends that were removed, and the limiters of pools that
// have none in c. Clients that wait there are released to the next generation.
func (a *App) keepQueues(c *config.Config, left []*pool.Backend) {
	for _, b := range left {
		if q := a.queues[b.Pool]; q != nil {
			q.Forget(b.ID)
		}
	}
	for name, q := range a.queues {
		if !slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Name == name && p.Admit != nil }) {
			q.Configure(ratelimit.Options{})
			delete(a.queues, name)
		}
	}
}
