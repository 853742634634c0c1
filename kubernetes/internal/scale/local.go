package scale

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

const (
	// Interval is how often a replica looks at its sessions.
	Interval = 2 * time.Second
	// Window is the time over which rates are means.
	Window = 30 * time.Second
)

// LocalOptions are a Local's dependencies.
type LocalOptions struct {
	Replica string // the name of the pod that this process runs in
	// Loads returns the loads of all pools; nil before there are any.
	Loads func() []app.PoolLoad
}

// Local measures the sessions of this process. Its methods are safe for concurrent use.
type Local struct {
	o LocalOptions

	mu       sync.Mutex // guards the following
	pools    map[string]counters
	services map[types.NamespacedName]*history
	report   Report
	known    bool // there was a sample
}

// counters are what a pool has counted since it is there.
type counters struct{ messages, opened uint64 }

// since returns what was counted after before. A pool that was removed and is there
// again counts from 0.
func (c counters) since(before counters) counters {
	if c.messages < before.messages || c.opened < before.opened {
		return c
	}
	return counters{c.messages - before.messages, c.opened - before.opened}
}

// history is what is remembered of a Service, to tell rates.
type history struct {
	total   counters
	samples []sample // of the last Window and one before it, in order
}

type sample struct {
	at time.Time
	counters
}

// NewLocal makes a Local, which knows nothing until Run.
func NewLocal(o LocalOptions) *Local {
	return &Local{o: o, pools: map[string]counters{}, services: map[types.NamespacedName]*history{}, report: Report{Replica: o.Replica}}
}

// Run measures until ctx ends.
func (l *Local) Run(ctx context.Context) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		l.sample(time.Now(), l.o.Loads())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sample records the loads at a time. Pools with one Service are added up: a Service has
// one for each port and for each way in which it is used.
func (l *Local) sample(now time.Time, loads []app.PoolLoad) {
	if loads == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	pools, services := make(map[string]counters, len(loads)), map[types.NamespacedName]*ServiceReport{}
	for i := range loads {
		p := &loads[i]
		name, _, ok := translate.ParseFeed(p.Feed)
		if !ok {
			continue // it has no Service
		}
		s := services[name]
		if s == nil {
			s = &ServiceReport{Namespace: name.Namespace, Name: name.Name, Pods: map[string]int{}}
			services[name] = s
		}
		s.Sessions += p.Sessions
		s.Queue += p.Waiting
		for _, b := range p.Backends {
			if b.Sessions > 0 && isPod(b.Name) {
				s.Pods[b.Name] += b.Sessions
			}
		}
		now := counters{p.Messages, p.Opened}
		pools[p.Pool] = now
		more := now.since(l.pools[p.Pool])
		s.messages += more.messages
		s.opened += more.opened
	}
	l.pools, l.known = pools, true
	maps.DeleteFunc(l.services, func(name types.NamespacedName, _ *history) bool { return services[name] == nil })
	l.report = Report{Replica: l.o.Replica, Services: make([]ServiceReport, 0, len(services))}
	for name, s := range services {
		h := l.services[name]
		if h == nil {
			h = &history{}
			l.services[name] = h
		}
		h.add(now, counters{s.messages, s.opened})
		s.messages, s.opened = h.total.messages, h.total.opened
		s.MessagesPerSecond, s.NewPerSecond = h.rates()
		l.report.Services = append(l.report.Services, *s)
	}
	sortServices(l.report.Services)
}

// add adds what was counted since the last sample.
func (h *history) add(now time.Time, more counters) {
	h.total.messages += more.messages
	h.total.opened += more.opened
	h.samples = append(h.samples, sample{now, h.total})
	first := 0
	for first+1 < len(h.samples) && now.Sub(h.samples[first+1].at) >= Window {
		first++
	}
	h.samples = append(h.samples[:0], h.samples[first:]...)
}

// rates returns the means since the first sample.
func (h *history) rates() (messages, opened float64) {
	first, last := h.samples[0], h.samples[len(h.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0, 0
	}
	more := last.since(first.counters)
	return float64(more.messages) / seconds, float64(more.opened) / seconds
}

// Report returns what was measured last, and whether there was anything to measure yet.
// The caller must not change it.
func (l *Local) Report() (r Report, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report, l.known
}

// ServeHTTP answers other replicas with the Report, as JSON. Before there is a
// configuration, it says that there are no sessions.
func (l *Local) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	report, _ := l.Report()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(report) // the other replica notices an error
}
