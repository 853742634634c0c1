package discovery

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	settle    = 100 * time.Millisecond // for which changes are collected
	pollEvery = time.Second            // between checks of a file
)

// Watcher follows the lists of all pools. Its methods are safe for concurrent
// use.
type Watcher struct {
	log     *slog.Logger
	changed func(pools []string)
	lists   *Feeds // nil without
	env     environment

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // feeds and announce
	dirty   chan struct{}  // capacity 1: some list has changed

	applying chan struct{} // capacity 1: a lock for Apply, which may wait long

	mu     sync.Mutex // guards the following and what it leads to
	pools  map[string]*poolLists
	fedBy  map[string][]*feed // those of Feeds, by the name there
	closed bool
}

// environment is how the outside is reached; tests replace it.
type environment struct {
	exchange   exchange
	routed     func(netip.Addr) bool // whether there is a route to the address
	resolvConf string
	poll       time.Duration
}

// poolLists is the lists of one pool.
type poolLists struct {
	feeds         []*feed
	members       []Member // of all feeds; replaced, never changed
	announced     []Member // at the last call of OnChange
	awaitingFirst bool     // Apply waits for its first lists
}

// New makes a Watcher that follows nothing yet. The caller must Close it.
func New(o Options) *Watcher {
	return newWatcher(o, environment{exchange: overNetwork, routed: hasRoute, resolvConf: "/etc/resolv.conf", poll: pollEvery})
}

func newWatcher(o Options, m environment) *Watcher {
	w := &Watcher{log: o.Log, changed: o.OnChange, lists: o.Feeds, env: m, dirty: make(chan struct{}, 1), applying: make(chan struct{}, 1), pools: map[string]*poolLists{}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	if w.changed != nil {
		w.running.Go(w.announce)
	}
	if w.lists != nil {
		w.lists.attach(w)
	}
	return w
}

// Apply replaces the Specs, which are by pool. Lists that were followed before are not
// disturbed. If only Refresh or Server of a list changed, its last members stay until
// there are others.
//
// It returns when each new list was looked up once, successfully or not, or after
// wait. OnChange isn't called for the members that new or changed pools have by then,
// but for all later changes. Calls of Apply wait for each other; after Close they do
// nothing.
func (w *Watcher) Apply(specs map[string]Spec, wait time.Duration) {
	w.applying <- struct{}{}
	defer func() { <-w.applying }()
	await(w.follow(specs), wait)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.pools {
		if g.awaitingFirst {
			g.announced, g.awaitingFirst = g.members, false
		}
	}
}

// follow starts and stops feeds. It returns the new ones.
func (w *Watcher) follow(specs map[string]Spec) (started []*feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	pools := make(map[string]*poolLists, len(specs))
	kept, fedBy := map[*feed]bool{}, map[string][]*feed{}
	for pool, spec := range specs {
		g, before := &poolLists{}, w.pools[pool]
		for _, s := range spec.sources() {
			f := before.find(func(f *feed) bool { return f.source == s })
			if f == nil {
				f = w.newFeed(pool, s)
				if same := before.find(func(f *feed) bool { return s.continues(f.source) }); same != nil {
					f.answered, f.members = same.answered, same.members
				}
				if s.feed == "" {
					started = append(started, f)
				} else {
					f.take()
				}
			}
			if s.feed != "" {
				fedBy[s.feed] = append(fedBy[s.feed], f)
			}
			kept[f] = true
			g.feeds = append(g.feeds, f)
		}
		if before != nil && slices.Equal(before.feeds, g.feeds) {
			g = before
		} else {
			g.members, g.awaitingFirst = merge(g.feeds), true
		}
		pools[pool] = g
	}
	for _, g := range w.pools {
		for _, f := range g.feeds {
			if !kept[f] && f.stop != nil {
				f.stop()
			}
		}
	}
	w.pools, w.fedBy = pools, fedBy
	for _, f := range started {
		w.start(f)
	}
	return started
}

// find returns the feed for which is returns true, or nil. g may be nil.
func (g *poolLists) find(is func(*feed) bool) *feed {
	if g != nil {
		if i := slices.IndexFunc(g.feeds, is); i >= 0 {
			return g.feeds[i]
		}
	}
	return nil
}

// await returns when each of feeds was tried once, or after d.
func await(feeds []*feed, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, f := range feeds {
		select {
		case <-f.firstTryDone:
		case <-timer.C:
			return
		}
	}
}

// Members returns the last good list of a pool, sorted by name, with unique names and
// addresses; nil before there is one. The caller must not change it.
func (w *Watcher) Members(pool string) []Member {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.pools[pool]; g != nil {
		return g.members
	}
	return nil
}

// Sources says which list each of Members is from, by its name, as State.Source does. The
// result is the caller's.
func (w *Watcher) Sources(pool string) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	sources := map[string]string{}
	if g := w.pools[pool]; g != nil {
		for _, f := range g.feeds {
			source := f.source.String()
			for _, m := range f.members {
				if sources[m.Name] == "" {
					sources[m.Name] = source
				}
			}
		}
	}
	return sources
}

// States describes each list that is followed, by pool.
func (w *Watcher) States() (states []State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pool := range slices.Sorted(maps.Keys(w.pools)) {
		for _, f := range w.pools[pool].feeds {
			states = append(states, State{
				Pool: pool, Source: f.source.String(), Backends: len(f.members),
				Answered: f.answered, LastError: f.lastError, Since: f.since,
			})
		}
	}
	return states
}

// Close stops following and waits for all goroutines, and for a call of OnChange under
// way: don't hold a lock that OnChange takes.
func (w *Watcher) Close() {
	if w.lists != nil {
		w.lists.detach(w)
	}
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.running.Wait()
}

// announce calls OnChange.
func (w *Watcher) announce() {
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-w.dirty:
		}
		timer := time.NewTimer(settle)
		select {
		case <-w.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		select {
		case <-w.dirty: // meanwhile
		default:
		}
		if pools := w.unannounced(); len(pools) > 0 && w.ctx.Err() == nil {
			w.changed(pools)
		}
	}
}

// unannounced returns the pools whose list differs from the last one announced, and
// marks it as announced.
func (w *Watcher) unannounced() (pools []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pool := range slices.Sorted(maps.Keys(w.pools)) {
		if g := w.pools[pool]; !g.awaitingFirst && !slices.Equal(g.announced, g.members) {
			g.announced = g.members
			pools = append(pools, pool)
		}
	}
	return pools
}

// start follows f's list until f is stopped or w is closed.
func (w *Watcher) start(f *feed) {
	ctx, cancel := context.WithCancel(w.ctx)
	f.stop = cancel
	var try func(context.Context) time.Duration
	switch {
	case f.source.file != "":
		try = (&fileWatch{feed: f, poll: w.env.poll}).try
	case f.source.aws != AWS{}:
		try = newAWSWatch(f).refresh
	default:
		try = newDNSWatch(f, w.env).refresh
	}
	w.running.Go(func() {
		defer cancel()
		f.run(ctx, try)
	})
}
