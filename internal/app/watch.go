package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/holdfast-ws/holdfast/internal/logging"
	"github.com/holdfast-ws/holdfast/internal/metrics"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// watcher is the spine's proxy.Watcher: log and metrics.
type watcher struct{ *App }

func (w watcher) SessionOpened(i session.Info) {
	w.opened.Add(1)
	w.log.SessionOpen(&i, w.words(&i))
}

func (w watcher) HandshakeDone(result string, d time.Duration) {
	w.metrics.HandshakeDone(result, d)
	w.tidier.note(time.Now())
}

func (w watcher) AffinityDone(result string) { w.metrics.AffinityDone(result) }

func (w watcher) SessionMoved(m proxy.Move) {
	w.metrics.SessionMoved(m.Why.String(), m.Result, m.Result == proxy.MoveDone, m.Gap)
	from := w.words(&m.Info)
	if m.Result == proxy.MoveDone {
		to := m.Info
		to.Backend = m.To
		w.slog.Info("session moved", "id", m.Info.ID.String(), "pool", from.Pool, "from", from.Backend, "to", w.words(&to).Backend,
			"reattach", m.Why.String(), "gap", m.Gap.Seconds())
		if b := w.registry.Backend(m.To); b != nil {
			w.drainer.Came(b) // its drain may have begun meanwhile
		}
		return
	}
	level := slog.LevelWarn
	if m.Why == session.Rebalance {
		w.rebalancer.NotMoved(m.Info)
		level = slog.LevelInfo // it is as well off where it is
	}
	w.slog.Log(context.Background(), level, "session not moved", "id", m.Info.ID.String(), "pool", from.Pool, "from", from.Backend,
		"reattach", m.Why.String(), "result", m.Result, "error", m.Err)
}

func (w watcher) SessionNotKept(session.Info) { w.metrics.SessionNotKept() }

// logTeller and countTeller hear of the ends of sessions.
type logTeller struct{ *App }

func (t logTeller) SessionClosed(s session.Summary) { t.log.SessionClose(&s, t.words(&s.Info)) }

type countTeller struct{ *metrics.Metrics }

func (t countTeller) SessionClosed(s session.Summary) { t.Metrics.SessionClosed(s.Cause, s.Code) }

// words are the names behind the numbers of a session.
func (a *App) words(i *session.Info) logging.Words {
	w := logging.Words{Route: a.names.Word(i.Route)}
	if b := a.registry.Backend(i.Backend); b != nil {
		w.Pool, w.Backend = b.Pool, b.Name
	}
	return w
}

// source is what the metrics ask for at a scrape.
type source struct{ *App }

func (s source) Traffic() (fromClient, fromBackend session.Traffic) {
	t := s.engine.Traffic()
	return t[session.Client], t[session.Backend]
}
func (s source) Active() int        { return s.engine.Active() }
func (s source) Opened() uint64     { return s.opened.Load() }
func (s source) LogDropped() uint64 { return s.log.Dropped() }

func (s source) Backends() []metrics.BackendStat {
	var all []metrics.BackendStat
	deadlines := map[*pool.Backend]time.Time{}
	for _, d := range s.drainer.States() {
		deadlines[d.Backend] = d.Deadline
	}
	for _, b := range s.registry.Backends() {
		st := b.State()
		deadline, draining := deadlines[b]
		all = append(all, metrics.BackendStat{Pool: b.Pool, Name: b.Name, Sessions: st.Sessions,
			Gone: b.Removed(), State: st.Word, Share: st.Share, Changes: st.Changes, Draining: draining, DrainLeft: time.Until(deadline)})
	}
	return all
}

func (s source) Discovery() []metrics.DiscoveryStat {
	var all []metrics.DiscoveryStat
	for _, d := range s.discovery.States() {
		all = append(all, metrics.DiscoveryStat{Pool: d.Pool, Source: d.Source, OK: d.Trouble == "" && !d.Answered.IsZero()})
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

func (s source) Rebalances() []metrics.RebalanceStat {
	var all []metrics.RebalanceStat
	for name, st := range s.rebalancer.States() {
		all = append(all, metrics.RebalanceStat{Pool: name, Excess: st.Excess})
	}
	return all
}

func engineName(e relay.Engine) string {
	if _, ok := e.(*relay.Portable); ok {
		return "portable"
	}
	return "epoll"
}
