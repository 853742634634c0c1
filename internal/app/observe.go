package app

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/logging"
	"github.com/holdfast-ws/holdfast/internal/ops/metrics"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/reattach"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// watcher implements proxy.Watcher: it writes the log and counts the metrics.
type watcher struct{ *App }

func (w watcher) SessionOpened(i session.Info, o proxy.Opened) {
	w.opened.Add(1)
	w.claims.put(i.ID, o.Claims)
	w.log.SessionOpened(&i, w.words(&i), logging.Opened{TLS: loggedTLS(o.TLS), RequestID: o.RequestID, TraceID: o.TraceID})
}

// loggedTLS is t as it is logged; nil without.
func loggedTLS(t *transport.TLS) *logging.TLS {
	if t == nil {
		return nil
	}
	if t.Version == 0 { // it is passed through
		return &logging.TLS{ServerName: proxy.LoggedName(t.ServerName)}
	}
	return &logging.TLS{Version: t.VersionWord(), Suite: tls.CipherSuiteName(t.Suite),
		ServerName: proxy.LoggedName(t.ServerName), Resumed: t.Resumed}
}

func (w watcher) TLSDone(result string, t *transport.TLS) {
	switch {
	case t != nil:
		w.metrics.TLSDone(result, t.VersionWord(), t.Resumed)
	case result != "":
		w.metrics.TLSDone(result, "", false)
	}
	w.trimmer.note(time.Now()) // failed or not, a handshake leaves garbage behind
}

func (w watcher) TLSLeft() { w.trimmer.note(time.Now()) }

func (w watcher) HandshakeDone(at proxy.Where, result string, d time.Duration) {
	w.overloads.note(at.Pool, result)
	w.metrics.HandshakeDone(metrics.Labels(at), result, d)
	w.trimmer.note(time.Now())
}

func (a *App) httpDone(at proxy.Where, status int, d time.Duration) {
	a.metrics.HTTPDone(metrics.Labels(at), status, d)
}

func (w watcher) AffinityDone(pool, result string) { w.metrics.AffinityDone(pool, result) }

// checked counts a health check.
func (a *App) checked(b *pool.Backend, result string, took time.Duration) {
	a.metrics.Checked(metrics.Labels{Pool: b.Pool, Backend: b.Name}, result, took)
}

func (w watcher) SessionMoved(m reattach.Move) {
	from, to := w.words(&m.Info), m.Info
	to.Backend = m.To
	at := w.at(m.Info)
	if from.Backend == "" { // it was removed from the configuration and has no sessions left
		from.Pool, from.Backend = w.words(&to).Pool, m.From
		at.Pool, at.Backend = from.Pool, from.Backend
	}
	w.sessionMoved(&m, from.Pool, from.Backend, w.words(&to).Backend)
	w.metrics.SessionMoved(at, m.Why.String(), m.Result, m.Result == reattach.Moved, m.Gap)
	if m.Result == reattach.Moved {
		w.slog.Info("session moved", "id", m.Info.ID.String(), "pool", from.Pool, "from", from.Backend, "to", w.words(&to).Backend,
			"reattach", m.Why.String(), "gap", m.Gap.Seconds())
		return
	}
	level := slog.LevelWarn
	if m.Why == session.Rebalance && m.Result != reattach.Rejected {
		w.rebalancer.MoveFailed(m.Info)
		level = slog.LevelInfo // the session can stay with its backend
	}
	w.slog.Log(context.Background(), level, "session not moved", "id", m.Info.ID.String(), "pool", from.Pool, "from", from.Backend,
		"reattach", m.Why.String(), "result", m.Result, "error", m.Err)
}

func (w watcher) SessionCame(backend uint32) {
	if b := w.registry.Backend(backend); b != nil {
		w.drainer.SessionArrived(b) // its drain may have begun while the session was on its way
	}
}

func (w watcher) SessionNotKept(i session.Info) { w.metrics.SessionNotKept(w.at(i)) }

// at returns the labels of a session's metrics.
func (a *App) at(i session.Info) metrics.Labels {
	if b := a.registry.Backend(i.Backend); b != nil {
		return metrics.Labels{Pool: b.Pool, Backend: b.Name}
	}
	return metrics.Labels{}
}

// logObserver and metricsObserver are called at the end of each session.
type logObserver struct{ *App }

func (t logObserver) SessionClosed(s session.Summary) { t.log.SessionClosed(&s, t.words(&s.Info)) }

type metricsObserver struct{ *App }

func (t metricsObserver) SessionClosed(s session.Summary) {
	t.metrics.SessionClosed(t.at(s.Info), s.Cause, s.Code)
}

// words returns the names of a session's route, pool and backend.
func (a *App) words(i *session.Info) logging.Names {
	w := logging.Names{Route: a.names.Word(i.Route), Claims: a.claims.get(i.ID)}
	if b := a.registry.Backend(i.Backend); b != nil {
		w.Pool, w.Backend = b.Pool, b.Name
	}
	return w
}

// backendName implements proxy.Options.BackendName.
func (a *App) backendName(id uint32) string {
	if b := a.registry.Backend(id); b != nil {
		return b.Name
	}
	return ""
}
