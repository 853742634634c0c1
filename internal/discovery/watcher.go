package discovery

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	settle    = 100 * time.Millisecond // for which changes are gathered
	pollEvery = time.Second            // between looks at a file
)

// Watcher follows the lists of all pools. Its methods are safe for concurrent
// use.
type Watcher struct {
	log     *slog.Logger
	changed func(pool string)
	means   means

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // feeds and the announcer
	dirty   chan struct{}  // of one place: some list changed

	applying chan struct{} // of one place: taken by Apply, which may wait long

	mu     sync.Mutex // guards the following and what it leads to
	pools  map[string]*group
	closed bool
}

// means are how the outside is reached; tests have others.
type means struct {
	exchange   exchange
	resolvConf string
	poll       time.Duration
}

// group is what is known of one pool.
type group struct {
	feeds   []*feed
	members []Member // of all feeds; replaced, never changed
	told    []Member // what whoever wants to know was told of last
	fresh   bool     // Apply waits for its first answers
}

// New makes a Watcher that follows nothing yet. Close it when done.
func New(o Options) *Watcher {
	return newWatcher(o, means{exchange: overNetwork, resolvConf: "/etc/resolv.conf", poll: pollEvery})
}

func newWatcher(o Options, m means) *Watcher {
	w := &Watcher{log: o.Log, changed: o.Changed, means: m, dirty: make(chan struct{}, 1), applying: make(chan struct{}, 1), pools: map[string]*group{}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	if w.changed != nil {
		w.running.Go(w.announce)
	}
	return w
}

// Apply makes specs, by pool, what is followed. What was followed before goes
// on undisturbed. Where only the way of asking changed (Refresh, Server), the
// last answer stays until there is another.
//
// It returns when every new list was looked for once, whatever came of it, or
// after wait. Changed isn't called for what Members has by then in the pools
// that are new or changed; later answers are told as they come. Calls wait for
// each other; after Close they do nothing.
func (w *Watcher) Apply(specs map[string]Spec, wait time.Duration) {
	w.applying <- struct{}{}
	defer func() { <-w.applying }()
	await(w.follow(specs), wait)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.pools {
		if g.fresh {
			g.told, g.fresh = g.members, false
		}
	}
}

// follow starts and stops feeds. It returns those that are new.
func (w *Watcher) follow(specs map[string]Spec) (started []*feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	pools := make(map[string]*group, len(specs))
	kept := map[*feed]bool{}
	for pool, spec := range specs {
		g, before := &group{}, w.pools[pool]
		for _, s := range spec.sources() {
			f := before.find(func(f *feed) bool { return f.source == s })
			if f == nil {
				f = w.newFeed(pool, s)
				if same := before.find(func(f *feed) bool { return s.continues(f.source) }); same != nil {
					f.answered, f.members = same.answered, same.members
				}
				started = append(started, f)
			}
			kept[f] = true
			g.feeds = append(g.feeds, f)
		}
		if before != nil && slices.Equal(before.feeds, g.feeds) {
			g = before
		} else {
			g.members, g.fresh = merge(g.feeds), true
		}
		pools[pool] = g
	}
	for _, g := range w.pools {
		for _, f := range g.feeds {
			if !kept[f] {
				f.stop()
			}
		}
	}
	w.pools = pools
	for _, f := range started {
		w.start(f)
	}
	return started
}

// find returns the feed that f is true for, or nil. g may be nil.
func (g *group) find(is func(*feed) bool) *feed {
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
		case <-f.tried:
		case <-timer.C:
			return
		}
	}
}

// Members returns the last good list of a pool, sorted by name, names and
// addresses unique; nil before there was one. It is not to be changed.
func (w *Watcher) Members(pool string) []Member {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.pools[pool]; g != nil {
		return g.members
	}
	return nil
}

// States tells of each list that is followed, by pool.
func (w *Watcher) States() (states []State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pool := range slices.Sorted(maps.Keys(w.pools)) {
		for _, f := range w.pools[pool].feeds {
			states = append(states, State{
				Pool: pool, Source: f.source.String(), Backends: len(f.members),
				Answered: f.answered, Trouble: f.trouble, Since: f.since,
			})
		}
	}
	return states
}

// Close stops following and waits until all goroutines have ended, and with
// them a call of Changed that is under way: don't hold what that may wait for.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.running.Wait()
}

// announce calls Changed.
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
		case <-w.dirty: // since
		default:
		}
		for _, pool := range w.untold() {
			if w.ctx.Err() == nil {
				w.changed(pool)
			}
		}
	}
}

// untold returns the pools whose list is another than was told, and takes them
// as told.
func (w *Watcher) untold() (pools []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pool := range slices.Sorted(maps.Keys(w.pools)) {
		if g := w.pools[pool]; !g.fresh && !slices.Equal(g.told, g.members) {
			g.told = g.members
			pools = append(pools, pool)
		}
	}
	return pools
}

// start follows f's list until it is stopped or w is closed.
func (w *Watcher) start(f *feed) {
	ctx, cancel := context.WithCancel(w.ctx)
	f.stop = cancel
	var try func(context.Context) time.Duration
	if f.source.file != "" {
		try = (&fileFollower{feed: f, poll: w.means.poll}).try
	} else {
		try = newDNSFollower(f, w.means).try
	}
	w.running.Go(func() {
		defer cancel()
		f.run(ctx, try)
	})
}
