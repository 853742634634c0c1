package simulate

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/spread"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
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
	registry                *pool.Registry
	picker                  balance.Picker
	limiter                 *ratelimit.Limiter  // nil: unlimited
	buckets                 []*ratelimit.Bucket // by server
	newLimits, queuedLimits balance.RateLimits
	drainer                 *drain.Drainer
	rebalancer              *rebalance.Rebalancer // nil: none
	attempts                attempts

	servers []*server // by member of the pool
	byID    map[uint32]*server

	clients        []client
	clientsByState [states]int // of clients
}

// poolName is the name of the pool in the registry.
const poolName = "pool"

func newWorld(s *Scenario, p *Pool, c *Clients) (*world, error) {
	w := &world{
		timeline: timeline{wallTime: startTime},
		s:        s, pool: p, behaviour: c,
		rand:    rand.New(rand.NewPCG(s.Seed, 0)),
		byID:    map[uint32]*server{},
		clients: make([]client, s.Sessions),
	}
	w.drainer = drain.New(drain.Options{
		Log:   slog.New(slog.DiscardHandler),
		Clock: w,
		Plan:  func(*pool.Backend) drain.Plan { return p.Drain },
		Close: func(b *pool.Backend, _ session.Cause, _ drain.Plan, spread time.Duration, move bool) int {
			s, o := w.byID[b.ID], batch{spread: spread, move: move && p.Reattach.Drain, close: true}
			if spread == 0 {
				return w.applyNow(s, o)
			}
			return w.startBatch(s, w.byAge(s), o)
		},
		Move: func(b *pool.Backend, spread time.Duration) int {
			if !p.Reattach.Drain {
				return 0
			}
			s := w.byID[b.ID]
			return w.startBatch(s, w.byAge(s), batch{spread: spread, move: true})
		},
		CancelClose: func(b *pool.Backend) { w.byID[b.ID].batch.cancel(w.clients) },
	})
	w.registry = pool.New(pool.Options{Clock: w, OnChange: w.drainer.Reconcile})
	if p.Admit != nil {
		w.limiter = ratelimit.New(ratelimit.Hooks{Clock: w})
		w.limiter.Configure(*p.Admit)
	}
	if err := w.addServers(s.Servers.Count, 0); err != nil {
		return nil, err
	}
	w.populate()
	w.startRebalancer()
	if w.pool.ScaleIn == Emptiest {
		w.updateCosts()
	}
	for i := range s.Events {
		w.callAt(s.Events[i].At, func() { w.runEvent(&s.Events[i]) })
	}
	w.meter.start(w)
	return w, nil
}

// addServers adds servers to the pool, as a reload would. The checks of those that join others
// pass after warm.
func (w *world) addServers(n int, warm time.Duration) error {
	spec := pool.Spec{Name: poolName, Checked: true, MaxFails: w.pool.MaxFails, FailTimeout: w.pool.FailTimeout, SlowStart: w.pool.SlowStart}
	for i := range len(w.servers) + n {
		spec.Backends = append(spec.Backends, pool.BackendSpec{
			Name: fmt.Sprintf("backend-%d", i+1), Address: fmt.Sprintf("10.0.%d.%d:3000", i>>8, i&0xff), Backup: w.isBackup(i)})
	}
	pools, _ := w.registry.Apply([]pool.Spec{spec})
	members := pools[poolName].Members
	for i := len(w.servers); i < len(members); i++ {
		b := members[i].Backend
		s := &server{index: int32(i), backend: b, up: true, started: never, hangingSince: never}
		if b.Operational() == pool.Warming {
			s.started = w.now
			if warm > 0 {
				w.callAt(w.now+warm, func() { w.warmed(s) })
			} else {
				w.warmed(s)
			}
		}
		w.servers, w.byID[b.ID] = append(w.servers, s), s
		if w.limiter != nil {
			w.buckets = append(w.buckets, w.limiter.Bucket(b.ID, b.UpSince))
		}
	}
	if w.limiter != nil {
		w.newLimits, w.queuedLimits = &ratelimit.Limits{Buckets: w.buckets}, &ratelimit.Limits{Buckets: w.buckets, Queued: true}
	}
	return w.newPicker(members)
}

// newPicker replaces the picker. Servers that have left stay members, but get nothing any more.
func (w *world) newPicker(members []pool.Member) (err error) {
	w.picker, err = balance.New(balance.Options{Algorithm: w.pool.Balance, MinHealthy: w.minHealthy(), Rand: w.rand}, members)
	return err
}

// isBackup reports whether the i-th server is a backup.
func (w *world) isBackup(i int) bool {
	s := &w.s.Servers
	return i < s.Count && i >= s.Count-s.Backups
}

// minHealthy is how many servers that are no backups must be available, or else health is
// ignored.
func (w *world) minHealthy() int {
	return balance.MinHealthy(w.pool.MinHealthy, w.pool.MinHealthyPercent, w.staying()-w.s.Servers.Backups)
}

// oldestSession is the age of the oldest session at the start; the ages of the others
// are spread evenly below it.
const oldestSession = time.Hour

// populate makes the clients, and their sessions if they have them from the start.
func (w *world) populate() {
	w.clientsByState[away] = len(w.clients)
	for i := range w.clients {
		c := &w.clients[i]
		c.server, c.attempt = none, none
		if w.s.Arrive > 0 {
			c.since = spread.Part(w.s.Arrive, i, len(w.clients))
			w.schedule(c.since, clientConnects, int32(i), c.gen)
			continue
		}
		s := w.servers[i%(len(w.servers)-w.s.Servers.Backups)]
		s.backend.TryAcquire()
		w.setState(int32(i), connected).opened = spread.Part(oldestSession, i, len(w.clients)) - oldestSession
		w.attach(int32(i), s)
	}
}

// handle handles an event, unless that is outdated.
func (w *world) handle(e event) {
	switch e.kind {
	case clientConnects, requestArrives, clientGivesUp:
		if w.clients[e.index].gen != e.gen {
			return
		}
	case serverDone:
		if w.servers[e.index].incarnation != e.gen {
			return
		}
	case responseArrives, connectTimeout, responseTimeout, connectRetry, reservationDue, moveTimeout, searchAgain:
		if w.attempts.all[e.index].gen != e.gen {
			return
		}
	}
	switch e.kind {
	case clientConnects:
		w.connect(e.index)
	case requestArrives:
		w.requestArrived(e.index)
	case clientGivesUp:
		w.clientGaveUp(e.index)
	case serverDone:
		w.handshakeDone(w.servers[e.index])
	case responseArrives:
		w.responseArrived(w.attempts.all[e.index])
	case connectTimeout:
		w.noResponse(w.attempts.all[e.index], failure.ConnectTimeout)
	case responseTimeout:
		w.noResponse(w.attempts.all[e.index], failure.AnswerTimeout)
	case connectRetry:
		w.retryConnect(w.attempts.all[e.index])
	case reservationDue:
		w.reservationDue(w.attempts.all[e.index])
	case moveTimeout:
		w.moveTimedOut(w.attempts.all[e.index])
	case searchAgain:
		w.searchAgain(w.attempts.all[e.index])
	}
}
