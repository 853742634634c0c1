package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Labels are the labels of most metrics: a pool and one of its backends. Backend
// is "" if none was chosen, and Pool as well if no route matched.
type Labels struct{ Pool, Backend string }

// valid replaces invalid UTF-8, which would make the collector panic.
func (l Labels) valid() Labels {
	return Labels{validUTF8(l.Pool), validUTF8(l.Backend)}
}

func validUTF8(label string) string { return strings.ToValidUTF8(label, "?") }

// series has everything that is counted with the same Labels.
type series struct {
	Labels
	handshakes handshakes
	moves      moves
	closes     closes
	requests   requests
	checks     checks
	backendTLS *tlsHandshakes  // of a pool; nil for a backend
	affinity   []atomic.Uint64 // of a pool, by index in Options.AffinityResults; nil for a backend

	// Metrics.refreshing guards the rest.
	traffic traffic
	// removedAt is when the backend or pool was first found to be removed; zero
	// while it exists.
	removedAt time.Time
}

// table finds series without a lock. A series is created by its first event, or
// with its backend.
type table struct {
	create func(Labels) *series
	all    atomic.Pointer[map[Labels]*series] // replaced, never modified

	mu sync.Mutex // held to replace all
}

func newTable(create func(Labels) *series) *table {
	t := &table{create: create}
	t.all.Store(&map[Labels]*series{})
	return t
}

// get returns the series of l and creates it if necessary. Labels that differ
// only in invalid UTF-8 may share one.
func (t *table) get(l Labels) *series {
	if s := (*t.all.Load())[l]; s != nil {
		return s
	}
	return t.add([]Labels{l})[l]
}

// add creates the series of labels that have none, and returns the table. All of them cost
// one copy of it.
func (t *table) add(labels []Labels) map[Labels]*series {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := maps.Clone(*t.all.Load())
	for _, l := range labels {
		if all[l] != nil {
			continue
		}
		valid := l.valid()
		s := all[valid]
		if s == nil {
			s = t.create(valid)
			all[valid] = s
		}
		all[l] = s
	}
	t.all.Store(&all)
	return all
}

// list returns each series once.
func (t *table) list() (list []*series) {
	for l, s := range *t.all.Load() {
		if l == s.Labels {
			list = append(list, s)
		}
	}
	return list
}

// deleteFunc deletes the series for which del returns true.
func (t *table) deleteFunc(del func(*series) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := maps.Clone(*t.all.Load())
	maps.DeleteFunc(all, func(_ Labels, s *series) bool { return del(s) })
	if len(all) < len(*t.all.Load()) {
		t.all.Store(&all)
	}
}

// The series of a removed backend or pool stay for keepRemoved, so that all who scrape
// see its last counts: there may be two Prometheus servers, and people who look by hand.
// If more than maxRemoved are kept, as after many short-lived backends, those that were
// removed first go at once.
const (
	keepRemoved = 5 * time.Minute
	maxRemoved  = 1000
)

// Refresh deletes the series of removed backends and pools. It is called after
// each change of the backends, so that series don't accumulate if nobody scrapes.
// It must not be called on an event loop.
func (m *Metrics) Refresh() {
	m.refreshing.Lock()
	defer m.refreshing.Unlock()
	m.refresh()
}

// refresh updates traffic and deletes the series of backends and pools that were removed
// long enough ago. The caller holds refreshing.
func (m *Metrics) refresh() (list []*series, backends []BackendStat) {
	sent := m.src.BackendTraffic()
	backends = m.src.Backends()
	known := map[Labels]bool{{}: true}
	for _, p := range m.src.Pools() {
		known[Labels{Pool: p.Name}.valid()] = true
	}
	exists := make(map[uint32]bool, len(backends))
	var missing []Labels
	for _, b := range backends {
		if l := (Labels{b.Pool, b.Name}); m.meters[b.ID] == nil {
			missing = append(missing, l)
		}
	}
	if len(missing) > 0 {
		m.series.add(missing)
	}
	for _, b := range backends {
		l := Labels{b.Pool, b.Name}
		known[l.valid()], known[Labels{Pool: b.Pool}.valid()], exists[b.ID] = true, true, true
		if m.meters[b.ID] == nil {
			m.meters[b.ID] = &meter{series: m.series.get(l)}
		}
	}
	for id, meter := range m.meters {
		meter.add(sent[id])
		if !exists[id] {
			delete(m.meters, id)
		}
	}
	m.deleteRemoved(known)
	m.forgetPools(known)
	return m.series.list(), backends
}

// deleteRemoved deletes the series whose labels aren't known any more, when their time is
// up or when there are too many of them.
func (m *Metrics) deleteRemoved(known map[Labels]bool) {
	now := time.Now()
	var removed []*series
	for _, s := range m.series.list() {
		switch {
		case known[s.Labels]:
			s.removedAt = time.Time{}
			continue
		case s.removedAt.IsZero():
			s.removedAt = now
		}
		removed = append(removed, s)
	}
	if len(removed) == 0 {
		return
	}
	slices.SortFunc(removed, func(a, b *series) int { return b.removedAt.Compare(a.removedAt) })
	gone := map[*series]bool{}
	for i, s := range removed {
		if i >= maxRemoved || now.Sub(s.removedAt) > keepRemoved {
			gone[s] = true
			m.keep(s)
		}
	}
	if len(gone) > 0 {
		m.series.deleteFunc(func(s *series) bool { return gone[s] })
	}
}
