package certs

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// defaultPoll is how often files are looked at. Polling sees what inotify doesn't:
// changes through symbolic links, as in Kubernetes, and over NFS.
const defaultPoll = 2 * time.Second

// Options are those of a Watcher.
type Options struct {
	Log *slog.Logger
	// Source has certificates beyond those of files; nil for none. Call Refresh when
	// they have changed.
	Source Source
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Poll is how often files are looked at; 0 means every 2 s.
	Poll time.Duration
	// RefuseUntimely makes Load fail for a certificate that has expired, or is not valid
	// yet. Otherwise it is used if there was none before: a start that coincides with an
	// expiry must not end what other certificates, and clients that don't look at the
	// time, could go on with.
	RefuseUntimely bool
}

// Watcher reads the certificates of all listeners and follows their files. Its methods
// are safe for concurrent use. They read files, so that they must not be called by
// event loops.
type Watcher struct {
	Options

	mu     sync.Mutex // held while files are read; guards the following
	pairs  map[Pair]*pair
	cas    map[CAFile]*clientCA
	self   *tls.Certificate // nil before it is needed
	stores []*Store         // in use
	end    chan struct{}    // closed to end the goroutine that looks; nil while there is none
	ended  chan struct{}
	// warned is when it was last logged that a certificate expires.
	warned  map[string]time.Time
	checked time.Time // when expiry was last checked

	inUse atomic.Pointer[[]*Store] // stores
}

// New makes a Watcher. The caller ends it with Close.
func New(o Options) *Watcher {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Poll == 0 {
		o.Poll = defaultPoll
	}
	w := &Watcher{Options: o, pairs: map[Pair]*pair{}, cas: map[CAFile]*clientCA{}, warned: map[string]time.Time{}}
	w.inUse.Store(&[]*Store{})
	return w
}

// Load makes a Store for each Spec. Files that are in use already are read again if
// they have changed. The error joins a FileError for each file that can't be used; then
// nothing has changed. A file whose certificate has expired doesn't count if there is one
// in use, which stays, or by Options.RefuseUntimely. Use follows, or nothing if the Stores are not needed.
func (w *Watcher) Load(specs []Spec) ([]*Store, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.Now()
	// New ones are kept apart until Use, so that those of a Load that is given up
	// leave nothing behind.
	pairs, cas := map[Pair]*pair{}, map[CAFile]*clientCA{}
	var bad []error
	fail := func(spec, index int, e *FileError) {
		c := *e
		c.Spec, c.Pair = spec, index
		bad = append(bad, &c)
	}
	var stores []*Store
	replaced := false
	for i, spec := range specs {
		s := &Store{spec: spec, source: w.Source}
		stores = append(stores, s)
		for j, id := range spec.Pairs {
			p := known(w.pairs, pairs, id, func(id Pair) *pair { return newPair(id, !w.RefuseUntimely) })
			fresh := p.used == nil
			changed, e := p.look(now)
			if e != nil && (fresh || !e.Untimely) {
				fail(i, j, e)
			}
			if changed && !fresh {
				w.report(&p.file, nil, true, certLog(p)...)
				replaced = true
			}
			s.pairs = append(s.pairs, p)
		}
		if spec.ClientCA.Path != "" {
			s.clientCA = known(w.cas, cas, spec.ClientCA, newClientCA)
			fresh := s.clientCA.used == nil
			changed, e := s.clientCA.look(now)
			if e != nil {
				fail(i, 0, e)
			}
			if changed && !fresh {
				w.report(&s.clientCA.file, nil, true, "client_ca", s.clientCA.path.Path)
			}
		}
		if spec.SelfSigned {
			if w.self == nil {
				var err error
				if w.self, err = selfSigned(now); err != nil {
					return nil, err
				}
			}
			s.self = w.self
		}
	}
	if replaced {
		w.rebuild()
	}
	if bad != nil {
		return nil, errors.Join(bad...)
	}
	for _, s := range stores {
		s.rebuild()
	}
	return stores, nil
}

// known returns what there is for id: in use, or new in this Load, or made now.
func known[K comparable, V any](inUse, now map[K]*V, id K, make func(K) *V) *V {
	if v := inUse[id]; v != nil {
		return v
	}
	if now[id] == nil {
		now[id] = make(id)
	}
	return now[id]
}

// Use makes the Watcher follow the files of stores, which Load has made, instead of
// those before. Warnings about certificates that soon expire begin.
func (w *Watcher) Use(stores []*Store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stores = stores
	w.inUse.Store(&stores)
	before := w.pairs
	w.pairs, w.cas = map[Pair]*pair{}, map[CAFile]*clientCA{}
	for _, s := range stores {
		for _, p := range s.pairs {
			w.pairs[p.Pair] = p
		}
		if s.clientCA != nil {
			w.cas[s.clientCA.path] = s.clientCA
		}
	}
	w.reportReplaced(before)
	w.rebuild() // a certificate may have been replaced since Load
	w.warn()
	if w.end == nil && len(stores) > 0 {
		w.end, w.ended = make(chan struct{}), make(chan struct{})
		go w.run(w.end, w.ended)
	}
}

// reportReplaced logs certificates in memory that are in place of others with the same
// name.
func (w *Watcher) reportReplaced(before map[Pair]*pair) {
	old := map[string]bool{}
	for p := range before {
		if p.InMemory && w.pairs[p] == nil {
			old[p.Cert] = true
		}
	}
	if len(old) == 0 {
		return
	}
	for p, now := range w.pairs {
		if p.InMemory && before[p] == nil && old[p.Cert] {
			w.Log.Info("certificate replaced", certLog(now)...)
		}
	}
}

// Refresh takes over the certificates of Source. It doesn't read files.
func (w *Watcher) Refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rebuild()
}

func (w *Watcher) rebuild() {
	for _, s := range w.stores {
		s.rebuild()
	}
}

// Close ends following files. Stores can still be used.
func (w *Watcher) Close() {
	w.mu.Lock()
	end, ended := w.end, w.ended
	w.end = nil
	w.mu.Unlock()
	if end != nil {
		close(end)
		<-ended
	}
}

func (w *Watcher) run(end, ended chan struct{}) {
	defer close(ended)
	ticker := time.NewTicker(w.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-end:
			return
		case <-ticker.C:
			w.look()
		}
	}
}

// look reads the files that have changed.
func (w *Watcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.Now()
	replaced := false
	for _, p := range w.pairs {
		changed, bad := p.look(now)
		w.report(&p.file, bad, changed, certLog(p)...)
		replaced = replaced || changed
	}
	for _, c := range w.cas {
		changed, bad := c.look(now)
		w.report(&c.file, bad, changed, "client_ca", c.path.Path)
	}
	if replaced {
		w.rebuild()
	}
	if replaced || now.Sub(w.checked) >= checkEvery {
		w.warn()
	}
}

// report logs what a look has found, once.
func (w *Watcher) report(f *file, bad *FileError, changed bool, about ...any) {
	switch {
	case bad == nil && changed:
		w.Log.Info("certificate file replaced", about...)
	case bad == nil && f.logged != "":
		w.Log.Info("certificate file is good again", about...)
	case bad != nil && f.looked > 1 && bad.Text != f.logged:
		w.Log.Error("certificate file can't be used; what was read before stays in use", append(slices.Clip(about), "error", bad.Text)...)
		f.logged = bad.Text
	}
	if bad == nil {
		f.logged = ""
	}
}
