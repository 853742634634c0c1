package app

import (
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/metrics"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// source implements metrics.Source: the values that are read at each scrape.
type source struct{ *App }

// backendStates lists the states that backends can have.
func backendStates(feeds bool) []string {
	return slices.DeleteFunc(pool.StateNames(), func(s string) bool { return !feeds && slices.Contains(pool.ListedStates(), s) })
}

func (s source) BackendTraffic() map[uint32][2]session.Traffic {
	return s.engine.BackendTraffic(func(backend uint32) bool { return s.registry.Backend(backend) != nil })
}

func (s source) Pools() (all []metrics.PoolStat) {
	g := s.proxy.Generation()
	for _, p := range s.current.Load().Pools {
		st := metrics.PoolStat{Name: p.Name, MaxSessions: p.MaxSessions}
		if made := g.Pools[p.Name]; made != nil {
			for _, m := range made.Picker.Members() {
				st.Backends++
				if m.Backend.Availability() == pool.Available {
					st.Available++
				}
			}
		}
		all = append(all, st)
	}
	return all
}

func (s source) Active() int        { return s.engine.Active() }
func (s source) Opened() uint64     { return s.opened.Load() }
func (s source) Backlog() int64     { return s.engine.Backlog() }
func (s source) LogDropped() uint64 { return s.log.Dropped() }

func (s source) Traces() metrics.TraceStat { return metrics.TraceStat(s.traces.stats()) }

func (s source) Events() metrics.EventStat {
	st := s.events.Stats()
	return metrics.EventStat{Streams: st.Followers, Missed: st.Missed}
}

func (s source) Changes() int { return len(operated{s.App}.Changes()) }

func (s source) ShuttingDown() bool { return s.stopping() }

func (s source) Limits() metrics.LimitStat {
	counted, gate, limits := s.limiter.Stats(), s.gate.Stats(), s.gate.Limits()
	return metrics.LimitStat{Counted: counted.Counted, Buckets: counted.Buckets,
		Sessions: gate.Sessions, MaxSessions: limits.MaxSessions, Handshakes: gate.Handshakes, MaxHandshakes: limits.MaxHandshakes}
}

func (s source) Backends() []metrics.BackendStat {
	var all []metrics.BackendStat
	deadlines := map[*pool.Backend]time.Time{}
	for _, d := range s.drainer.States() {
		deadlines[d.Backend] = d.Deadline
	}
	for _, b := range s.registry.Backends() {
		st := b.State()
		deadline, draining := deadlines[b]
		all = append(all, metrics.BackendStat{ID: b.ID, Pool: b.Pool, Name: b.Name, Sessions: st.Sessions, Requests: st.Requests,
			Removed: b.Removed(), MaxSessions: st.MaxSessions, State: st.Name, Share: st.Share, Changes: st.Changes, Draining: draining, DrainLeft: time.Until(deadline)})
	}
	return all
}

func (s source) Discovery() []metrics.DiscoveryStat {
	var all []metrics.DiscoveryStat
	for _, d := range s.discovery.States() {
		all = append(all, metrics.DiscoveryStat{Pool: d.Pool, Source: d.Source, OK: d.LastError == "" && !d.Answered.IsZero()})
	}
	return all
}

func (s source) Queues() []metrics.QueueStat {
	var all []metrics.QueueStat
	for name, p := range s.proxy.Generation().Pools {
		if q := p.Admit; q != nil {
			all = append(all, metrics.QueueStat{Pool: name, Waiting: q.Waiting(), Queued: q.Queued()})
		}
	}
	return all
}

func (s source) Learned() []metrics.LearnedStat {
	var all []metrics.LearnedStat
	for name, t := range s.sticky.Stats() {
		all = append(all, metrics.LearnedStat{Pool: name, Keys: t.Keys, Learned: t.Learned, Expired: t.Expired, Evicted: t.Evicted})
	}
	return all
}

func (s source) Rebalances() []metrics.RebalanceStat {
	var all []metrics.RebalanceStat
	for name, st := range s.rebalancer.States() {
		all = append(all, metrics.RebalanceStat{Pool: name, Excess: st.Excess})
	}
	return all
}

func (s source) Certificates() []metrics.CertificateStat {
	var all []metrics.CertificateStat
	for _, c := range s.certs.Certificates() {
		all = append(all, metrics.CertificateStat{File: c.File, Name: c.Names[0], Expires: c.NotAfter, Bad: c.Problem != ""})
	}
	return all
}
