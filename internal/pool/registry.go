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
)

// firstAnswers is how long Apply waits, in all, for names it hasn't seen before.
const firstAnswers = time.Second

// Resolver turns names into addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are what a Registry needs from outside.
type Options struct {
	Resolver Resolver     // nil means net.DefaultResolver
	Logger   *slog.Logger // nil means no log
	// Clock is what ejections, slow starts and the times told of go by; nil
	// means the system's. Names are looked up by the system's in any case.
	Clock clock.Clock
	// Changed is told of each change of a backend's state, a moment after it
	// can be seen. It must not block, nor call what changes a state. nil
	// means nobody is told.
	Changed func(*Backend)
}

// Registry knows every backend that is configured or still has sessions.
type Registry struct {
	resolver  Resolver
	log       *slog.Logger
	clock     clock.Clock
	told      func(*Backend)
	resolvers sync.WaitGroup

	// byID is replaced, never changed, so that Backend needs no lock.
	byID atomic.Pointer[map[uint32]*Backend]

	mu         sync.Mutex // guards the following and who replaces byID
	configured map[identity]*Backend
	groups     map[string]*group // by pool
	lastID     uint32
}

type identity struct{ pool, name, address string }

func (s *BackendSpec) identity(pool string) identity {
	return identity{pool, cmp.Or(s.Name, s.Address), s.Address}
}

// New makes an empty Registry. Close it when done.
func New(o Options) *Registry {
	r := &Registry{resolver: o.Resolver, log: o.Logger, clock: clock.Or(o.Clock), told: o.Changed, configured: map[identity]*Backend{}, groups: map[string]*group{}}
	if r.resolver == nil {
		r.resolver = net.DefaultResolver
	}
	if r.told == nil {
		r.told = func(*Backend) {}
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.byID.Store(&map[uint32]*Backend{})
	return r
}

// Apply makes specs what is configured. It returns the new pools by name and
// the backends that were configured before and no longer are; their sessions
// are the caller's to close. One that left and comes back is a new Backend.
//
// Names that are new are looked up before Apply returns, as far as a second
// allows; later answers are taken as they come. Those that left are marked as
// the last thing, so that older pools are of use until then; the caller swaps
// to the new ones at once. Calls must not overlap.
func (r *Registry) Apply(specs []Spec) (pools map[string]*Pool, left []*Backend) {
	pools = make(map[string]*Pool, len(specs))
	configured := map[identity]*Backend{}
	groups := map[string]*group{}
	var pending []<-chan struct{}

	r.mu.Lock()
	byID := maps.Clone(*r.byID.Load())
	for _, spec := range specs {
		g := r.groups[spec.Name]
		if g == nil {
			g = &group{}
		}
		g.max.Store(int64(spec.MaxSessions))
		groups[spec.Name] = g
		// Where nobody stays, those that come can't wait for checks or a slow
		// start: they are all there is.
		stays := slices.ContainsFunc(spec.Backends, func(s BackendSpec) bool {
			return r.configured[s.identity(spec.Name)] != nil
		})
		p := &Pool{Name: spec.Name, Balance: spec.Balance, Members: make([]Member, 0, len(spec.Backends))}
		for _, s := range spec.Backends {
			id := s.identity(spec.Name)
			b := cmp.Or(configured[id], r.configured[id])
			joins := b == nil && stays
			if b == nil {
				b = &Backend{ID: r.newID(byID), Pool: id.pool, Name: id.name, Address: id.address, registry: r, group: g}
				byID[b.ID] = b
				if wait := r.locate(b); wait != nil {
					pending = append(pending, wait)
				}
			}
			b.max.Store(int64(s.MaxSessions))
			b.adjust(&spec, joins)
			configured[id] = b
			p.Members = append(p.Members, Member{Backend: b, Weight: max(s.Weight, 1)})
		}
		pools[p.Name] = p
	}
	for id, b := range r.configured {
		if configured[id] == nil {
			left = append(left, b)
		}
	}
	r.configured, r.groups = configured, groups
	r.byID.Store(&byID)
	r.mu.Unlock()

	// The old generation serves until the caller swaps: what leaves must not
	// be marked before the wait for DNS is over.
	await(pending, firstAnswers)
	slices.SortFunc(left, func(a, b *Backend) int { return cmp.Compare(a.ID, b.ID) })
	for _, b := range left {
		if b.stop != nil {
			b.stop()
		}
		b.removed.Store(true)
		r.settle(b)
		r.told(b)
	}
	return pools, left
}

// await returns when all channels are closed, or after d.
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

// newID gives the next number that no backend in taken has.
func (r *Registry) newID(taken map[uint32]*Backend) uint32 {
	for {
		r.lastID++
		if _, used := taken[r.lastID]; !used && r.lastID != 0 {
			return r.lastID
		}
	}
}

// Backend returns the backend with that ID, also one that has left the
// configuration, as long as it has leases. Nil if there is none. IDs are not
// given again while in use. It takes no lock.
func (r *Registry) Backend(id uint32) *Backend { return (*r.byID.Load())[id] }

// Backends lists all that Backend would find, by ID.
func (r *Registry) Backends() []*Backend {
	return slices.SortedFunc(maps.Values(*r.byID.Load()), func(a, b *Backend) int {
		return cmp.Compare(a.ID, b.ID)
	})
}

// settle keeps a removed backend known by its ID while it has leases, and
// forgets it when it has none. Called again it comes to the same, so the calls
// may arrive in any order.
func (r *Registry) settle(b *Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	byID := *r.byID.Load()
	wanted := b.leases.Load() > 0
	if _, known := byID[b.ID]; known == wanted {
		return
	}
	byID = maps.Clone(byID)
	if wanted {
		byID[b.ID] = b
	} else {
		delete(byID, b.ID)
	}
	r.byID.Store(&byID)
}

// Close stops looking up names and returns when that has ended. Backends keep
// the addresses they have. No Apply may follow.
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
