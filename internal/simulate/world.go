package simulate

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/drain"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/rebalance"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// world is one run of a scenario: a pool with its servers, and the clients.
type world struct {
	timeline
	s         *Scenario
	pool      *Pool
	behaviour *Clients
	rand      *rand.Rand
	meter     meter

	// The balancer.
	registry       *pool.Registry
	picker         balance.Picker
	admit          *admit.Pool     // nil: no bound
	buckets        []*admit.Bucket // by server
	coming, queued balance.Rates
	drainer        *drain.Drainer
	rebalancer     *rebalance.Rebalancer // nil: none
	attempts       attempts

	servers []*server // by member of the pool
	byID    map[uint32]*server

	clients []client
	count   [states]int // of clients
}

// poolName is the pool's in the registry.
const poolName = "pool"

func newWorld(s *Scenario, p *Pool, c *Clients) (*world, error) {
	w := &world{
		timeline: timeline{wall: beginning},
		s:        s, pool: p, behaviour: c,
		rand:    rand.New(rand.NewPCG(s.Seed, 0)),
		byID:    map[uint32]*server{},
		clients: make([]client, s.Sessions),
	}
	w.drainer = drain.New(drain.Options{
		Log:   slog.New(slog.DiscardHandler),
		Clock: w,
		Plan:  func(*pool.Backend) drain.Plan { return p.Drain },
		Close: func(b *pool.Backend, _ session.Cause, _ drain.Plan, spread time.Duration) int {
			s, o := w.byID[b.ID], order{spread: spread, move: p.Reattach.Drain, close: true}
			if spread == 0 {
				return w.late(s, o)
			}
			return w.give(s, w.byAge(s), o)
		},
		Move: func(b *pool.Backend, spread time.Duration) int {
			if !p.Reattach.Drain {
				return 0
			}
			s := w.byID[b.ID]
			return w.give(s, w.byAge(s), order{spread: spread, move: true})
		},
		Keep: func(b *pool.Backend) { w.byID[b.ID].order.cancel(w.clients) },
	})
	w.registry = pool.New(pool.Options{Clock: w, Changed: w.drainer.Look})
	if p.Admit != nil {
		w.admit = admit.New(admit.Hooks{Clock: w})
		w.admit.Configure(*p.Admit)
	}
	if err := w.grow(s.Servers.Count); err != nil {
		return nil, err
	}
	w.populate()
	w.rebalances()
	for i := range s.Events {
		w.at(s.Events[i].At, func() { w.begins(&s.Events[i]) })
	}
	w.meter.begin(w)
	return w, nil
}

// grow adds servers to the pool, which a reload would do.
func (w *world) grow(n int) error {
	spec := pool.Spec{Name: poolName, MaxFails: w.pool.MaxFails, FailTimeout: w.pool.FailTimeout, SlowStart: w.pool.SlowStart}
	for i := range len(w.servers) + n {
		spec.Backends = append(spec.Backends, pool.BackendSpec{
			Name: fmt.Sprintf("backend-%d", i+1), Address: fmt.Sprintf("10.0.%d.%d:3000", i>>8, i&0xff)})
	}
	pools, _ := w.registry.Apply([]pool.Spec{spec})
	members := pools[poolName].Members
	for i := len(w.servers); i < len(members); i++ {
		b := members[i].Backend
		s := &server{index: int32(i), backend: b, up: true, hanging: never}
		w.servers, w.byID[b.ID] = append(w.servers, s), s
		if w.admit != nil {
			w.buckets = append(w.buckets, w.admit.Backend(b.ID, b.Risen))
		}
	}
	if w.admit != nil {
		w.coming, w.queued = &rates{w.buckets, false}, &rates{w.buckets, true}
	}
	var err error
	w.picker, err = balance.New(balance.Options{Kind: w.pool.Balance, MinHealthy: w.minHealthy(), Rand: w.rand}, members)
	return err
}

// minHealthy is how many servers must be fit for their health to be believed.
func (w *world) minHealthy() int {
	if percent := w.pool.MinHealthyPercent; percent > 0 {
		return (percent*len(w.servers) + 99) / 100
	}
	return w.pool.MinHealthy
}

// rates are the pool's buckets as a picker goes by them.
type rates struct {
	buckets []*admit.Bucket
	queued  bool
}

func (r *rates) Ready(i int) bool   { return r.buckets[i].Ready(r.queued) }
func (r *rates) TryPass(i int) bool { return r.buckets[i].TryPass(r.queued) }

// age is that of the oldest session at the beginning; the others are as evenly
// younger as they came.
const age = time.Hour

// populate makes the clients, and their sessions if they have them from the
// beginning.
func (w *world) populate() {
	w.count[away] = len(w.clients)
	for i := range w.clients {
		c := &w.clients[i]
		c.server, c.attempt = none, none
		if w.s.Arrive > 0 {
			c.since = part(w.s.Arrive, i, len(w.clients))
			w.plan(c.since, connects, int32(i), c.turn)
			continue
		}
		s := w.servers[i%len(w.servers)]
		s.backend.TryAcquire()
		w.enter(int32(i), connected).opened = part(age, i, len(w.clients)) - age
		w.join(int32(i), s)
	}
}

// happen makes an event come true.
func (w *world) happen(e event) {
	switch e.kind {
	case connects, arrives, givesUp:
		if w.clients[e.who].turn != e.turn {
			return
		}
	case served:
		if w.servers[e.who].life != e.turn {
			return
		}
	case answered, answerMissed, knocksAgain, turnCame, moveMissed, looksAgain:
		if w.attempts.all[e.who].turn != e.turn {
			return
		}
	}
	switch e.kind {
	case connects:
		w.connect(e.who)
	case arrives:
		w.arrives(e.who)
	case givesUp:
		w.givesUp(e.who)
	case served:
		w.served(w.servers[e.who])
	case answered:
		w.answered(w.attempts.all[e.who])
	case answerMissed:
		w.unanswered(w.attempts.all[e.who])
	case knocksAgain:
		w.knock(w.attempts.all[e.who])
	case turnCame:
		w.turnCame(w.attempts.all[e.who])
	case moveMissed:
		w.moveMissed(w.attempts.all[e.who])
	case looksAgain:
		w.lookAgain(w.attempts.all[e.who])
	}
}
