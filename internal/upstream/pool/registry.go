package pool

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// rememberFor is how long a removed backend without sessions keeps its identity,
// with its administrative state and its failures. A discovery that misses it for
// a moment must not undo a drain.
const rememberFor = time.Minute

// firstLookupTimeout is how long Apply waits for new names, all together.
const firstLookupTimeout = time.Second

// Resolver looks up names; *net.Resolver implements it.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are a Registry's dependencies.
type Options struct {
	Resolver Resolver     // nil means net.DefaultResolver
	Logger   *slog.Logger // nil means no log
	// Clock is used for ejections, slow starts and reported times; nil means
	// the system's. DNS lookups always use the system's.
	Clock clock.Clock
	// OnChange is called after each change of a backend's state, once it is
	// visible. It must not block, nor change a state. nil means no calls.
	OnChange func(*Backend)
}

// Registry has every backend that is configured or still has sessions.
type Registry struct {
	resolver  Resolver
	log       *slog.Logger
	clock     clock.Clock
	onChange  func(*Backend)
	resolvers sync.WaitGroup

	// byID is replaced, never changed, so that Backend takes no lock.
	byID atomic.Pointer[map[uint32]*Backend]

	mu         sync.Mutex // guards the following, and replacing byID
	configured map[identity]*Backend
	removed    map[identity]removal  // backends that may come back
	poolStates map[string]*poolState // by pool
	lastID     uint32
}

type identity struct{ pool, name, address string }

// removal is a backend that has left the configuration, and when.
type removal struct {
	backend *Backend
	at      time.Time
}

func (s *BackendSpec) identity(pool string) identity {
	return identity{pool, cmp.Or(s.Name, s.Address), s.Address}
}

// New makes an empty Registry. The caller must Close it.
func New(o Options) *Registry {
	r := &Registry{resolver: o.Resolver, log: o.Logger, clock: clock.Or(o.Clock), onChange: o.OnChange, configured: map[identity]*Backend{}, removed: map[identity]removal{}, poolStates: map[string]*poolState{}}
	if r.resolver == nil {
		r.resolver = net.DefaultResolver
	}
	if r.onChange == nil {
		r.onChange = func(*Backend) {}
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.byID.Store(&map[uint32]*Backend{})
	return r
}

// Apply replaces the configuration. It returns the new pools by name, and the
// backends that are no longer configured; closing their sessions is up to the
// caller. A backend that comes back within a minute, or while it has sessions, is
// the same Backend with its leases.
//
// New names are looked up before Apply returns, but for a second at most; later
// answers are used as they come. Backends that left are marked as removed last,
// so that older pools work until then. The caller should switch to the new pools
// at once. Calls must not overlap.
func (r *Registry) Apply(specs []Spec) (pools map[string]*Pool, left []*Backend) {
	pools = make(map[string]*Pool, len(specs))
	configured := map[identity]*Backend{}
	groups := map[string]*poolState{}
	var pending []<-chan struct{}
	var back []*Backend

	r.mu.Lock()
	r.prune()
	byID := maps.Clone(*r.byID.Load())
	for _, spec := range specs {
		g := r.poolStates[spec.Name]
		if g == nil {
			g = r.poolStateOf(spec.Name)
		}
		g.max.Store(int64(spec.MaxSessions))
		groups[spec.Name] = g
		// If no backend stays that takes sessions, those that join can't wait for
		// checks or a slow start: there are no others.
		stays := slices.ContainsFunc(spec.Backends, func(s BackendSpec) bool {
			id := s.identity(spec.Name)
			return s.Listed == ListedReady && (r.configured[id] != nil || r.removed[id].hasSessions())
		})
		p := &Pool{Name: spec.Name, Balance: spec.Balance, Members: make([]Member, 0, len(spec.Backends))}
		for _, s := range spec.Backends {
			id := s.identity(spec.Name)
			b := cmp.Or(configured[id], r.configured[id])
			joins, fresh := b == nil && stays, b == nil && r.removed[id].backend == nil
			if b == nil {
				if d, ok := r.removed[id]; ok && (byID[d.backend.ID] == nil || byID[d.backend.ID] == d.backend) {
					b, joins = d.backend, stays && !d.hasSessions()
					delete(r.removed, id)
					byID[b.ID] = b
					back = append(back, b)
					if wait := r.startResolving(b); wait != nil {
						pending = append(pending, wait)
					}
				}
			}
			if b == nil {
				b = &Backend{ID: r.newID(byID), Pool: id.pool, Name: id.name, Address: id.address, registry: r, shared: g}
				byID[b.ID] = b
				if wait := r.startResolving(b); wait != nil {
					pending = append(pending, wait)
				}
			}
			b.max.Store(int64(s.MaxSessions))
			if b.removed.Load() {
				r.index(b) // before a new lease finds it no longer removed
				b.restore()
			}
			b.configure(&spec, joins)
			b.setListed(s.Listed, s.KillAt, fresh)
			configured[id] = b
			p.Members = append(p.Members, Member{Backend: b, Weight: max(s.Weight, 1), Host: cmp.Or(s.Host, hostport.HostOf(s.Address)), HealthPort: s.HealthPort, Backup: s.Backup})
		}
		pools[p.Name] = p
	}
	for id, b := range r.configured {
		if configured[id] == nil {
			left = append(left, b)
			r.removed[id] = removal{b, r.clock.Now()}
		}
	}
	r.configured, r.poolStates = configured, groups
	r.byID.Store(&byID)
	r.mu.Unlock()

	// The old pools serve until the caller switches: backends that left must
	// not be marked before the wait for DNS is over.
	await(pending, firstLookupTimeout)
	for _, b := range back {
		b.logReturn()
	}
	slices.SortFunc(left, func(a, b *Backend) int { return cmp.Compare(a.ID, b.ID) })
	for _, b := range left {
		if b.stop != nil {
			b.stop()
		}
		// If the pool has no backends now, its whole list may have gone.
		b.markRemoved(pools[b.Pool] != nil && len(pools[b.Pool].Members) > 0)
		r.reconcile(b)
		r.onChange(b)
	}
	return pools, left
}

// prune forgets the removed backends that won't keep their identity. mu must be
// held.
func (r *Registry) prune() {
	now := r.clock.Now()
	maps.DeleteFunc(r.removed, func(_ identity, d removal) bool {
		return !d.hasSessions() && now.Sub(d.at) > rememberFor
	})
}

// hasSessions is false for the zero removal.
func (d removal) hasSessions() bool { return d.backend != nil && d.backend.leases.Load() > 0 }

// poolStateOf returns the state of a pool that isn't configured now: the one that
// its removed backends have, or else a new one. mu must be held.
func (r *Registry) poolStateOf(pool string) *poolState {
	for id, d := range r.removed {
		if id.pool == pool {
			return d.backend.shared
		}
	}
	return &poolState{}
}

// await returns once all channels are closed, or after d.
func await(pending []<-chan struct{}, d time.Duration) {
	if len(pending) == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, c := range pending {
		select {
		case <-c:
		case <-timer.C:
			return
		}
	}
}

// newID returns the next number that no backend in taken has.
func (r *Registry) newID(taken map[uint32]*Backend) uint32 {
	for {
		r.lastID++
		if _, used := taken[r.lastID]; !used && r.lastID != 0 {
			return r.lastID
		}
	}
}

// Backend returns the backend with that ID, even if it has left the
// configuration, as long as it has leases; otherwise nil. An ID isn't reused
// while its backend exists. It takes no lock.
func (r *Registry) Backend(id uint32) *Backend { return (*r.byID.Load())[id] }

// Backends lists all backends that Backend finds, by ID.
func (r *Registry) Backends() []*Backend {
	return slices.SortedFunc(maps.Values(*r.byID.Load()), func(a, b *Backend) int {
		return cmp.Compare(a.ID, b.ID)
	})
}

// index makes Backend find b. mu must be held.
func (r *Registry) index(b *Backend) {
	byID := *r.byID.Load()
	if byID[b.ID] == b {
		return
	}
	byID = maps.Clone(byID)
	byID[b.ID] = b
	r.byID.Store(&byID)
}

// reconcile keeps a removed backend in byID while it has leases, and drops it when
// it has none. It may be called repeatedly, and in any order.
func (r *Registry) reconcile(b *Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	byID := *r.byID.Load()
	wanted := !b.removed.Load() || b.leases.Load() > 0
	if _, known := byID[b.ID]; known == wanted {
		return
	}
	if wanted {
		r.index(b)
		return
	}
	byID = maps.Clone(byID)
	delete(byID, b.ID)
	r.byID.Store(&byID)
}

// Close stops all lookups and waits for them. Backends keep their addresses. Apply
// must not be called afterwards.
func (r *Registry) Close() {
	r.mu.Lock()
	for _, b := range r.configured {
		if b.stop != nil {
			b.stop()
		}
	}
	r.mu.Unlock()
	r.resolvers.Wait()
}
