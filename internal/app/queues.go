package app

import (
	"slices"

	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/proxy"
)

// setAdmit has a pool's handshakes pass the queue that it had before, if it
// had one.
func (a *App) setAdmit(p *config.Pool, made *proxy.Pool) {
	if p.Admit == nil {
		return
	}
	q := a.queues[p.Name]
	if q == nil {
		// Who waits is let go by a goroutine, which is to find a processor.
		q = admit.New(admit.Hooks{Begin: a.spare.enter, End: a.spare.leave})
		a.queues[p.Name] = q
	}
	q.Configure(admit.Options(*p.Admit))
	made.SetAdmit(q)
}

// keepQueues forgets backends that left, and the queues of pools that have
// none in c: who waits there is let through to what the next generation says.
func (a *App) keepQueues(c *config.Config, left []*pool.Backend) {
	for _, b := range left {
		if q := a.queues[b.Pool]; q != nil {
			q.Forget(b.ID)
		}
	}
	for name, q := range a.queues {
		if !slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Name == name && p.Admit != nil }) {
			q.Configure(admit.Options{})
			delete(a.queues, name)
		}
	}
}
