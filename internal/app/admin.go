package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/dashboard"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// adminServer is the admin interface on its address.
type adminServer struct {
	*admin.Server
	listener net.Listener
	serving  sync.WaitGroup
}

// newAdmin opens the address of the admin interface, which answers from start on.
func (a *App) newAdmin(address config.Address) (*adminServer, error) {
	ln, err := net.Listen("tcp", address.String())
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	s := &adminServer{
		Server: admin.New(admin.Options{
			Balancer: operated{a},
			Host:     address.Host,
			Draining: a.stopping,
			Metrics:  a.MetricsHandler(),
			Pages:    dashboard.Handler(),
			Log:      a.slog,
		}),
		listener: ln,
	}
	return s, nil
}

func (s *adminServer) start(log *slog.Logger) {
	s.serving.Go(func() {
		if err := s.Serve(s.listener); err != nil {
			log.Error("the admin interface ended", "error", err)
		}
	})
}

// close stops the admin interface; running requests have a second to end.
func (s *adminServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.Shutdown(ctx)
	s.listener.Close() // also if it hasn't started
	s.serving.Wait()
}

// MetricsHandler serves scrapes: the metrics of the admin interface.
func (a *App) MetricsHandler() http.Handler {
	scrapes := a.metrics.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.spare.while(func() { scrapes.ServeHTTP(w, r) })
	})
}

// Status returns the status that the admin interface serves.
func (a *App) Status() api.Status {
	c := a.current.Load()
	s := api.Status{
		Version:       a.options.Version,
		Started:       a.started,
		Draining:      a.stopping(),
		DrainingSince: a.ending.Load(),
		Generation:    a.proxy.Generation().Number,
		ConfigFile:    a.options.File,
	}
	s.Engine = engineName(a.engine)
	s.Loops, s.Processors = a.engine.Loops()
	for _, l := range a.listeners.List() {
		s.Listeners = append(s.Listeners, api.Listener{Name: l.Name, Address: l.String()})
	}
	for _, c := range a.certs.Certificates() {
		s.Certificates = append(s.Certificates, api.Certificate{Cert: c.File, Names: c.Names, Key: c.Key,
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, DaysLeft: c.DaysLeft(time.Now()), Problem: c.Problem})
	}
	s.Pools = a.poolStatus(c)
	t := a.engine.Traffic()
	s.Totals = api.Totals{
		Active: a.engine.Active(), Requests: a.proxy.HTTPRequests(), Opened: a.opened.Load(),
		FromClient: traffic(t[session.Client]), FromBackend: traffic(t[session.Backend]),
	}
	return s
}

// poolStatus lists the pools of c, then those that were removed and still have
// sessions.
func (a *App) poolStatus(c *config.Config) (list []api.Pool) {
	members := map[*pool.Backend]pool.Member{}
	rebalances, learned := a.rebalancer.States(), a.sticky.Stats()
	index := map[string]int{}
	for i := range c.Pools {
		p := &c.Pools[i]
		index[p.Name] = len(list)
		list = append(list, api.Pool{Name: p.Name, Balance: p.Balance, MaxSessions: p.MaxSessions, LearnedKeys: learned[p.Name].Keys})
		if r, ok := rebalances[p.Name]; ok {
			list[i].Rebalance = &api.Rebalance{Active: r.Active, Excess: r.Excess, Given: r.Given}
			if r.Active {
				list[i].Rebalance.Since = &r.Since
			}
		}
		if g := a.proxy.Generation().Pools[p.Name]; g != nil {
			if g.Admit != nil {
				list[i].Queued = g.Admit.Waiting()
			}
			for _, m := range g.Picker.Members() {
				members[m.Backend] = m
			}
		}
	}
	for _, d := range a.discovery.States() {
		if i, ok := index[d.Pool]; ok {
			list[i].Discovery = append(list[i].Discovery, api.Discovery{Source: d.Source, Since: when(d.Answered), LastError: d.LastError})
		}
	}
	drains := map[*pool.Backend]*api.Drain{}
	for _, d := range a.drainer.States() {
		drains[d.Backend] = &api.Drain{Since: d.Since, Deadline: d.Deadline, Sessions: d.Sessions}
	}
	for _, b := range a.registry.Backends() {
		i, ok := index[b.Pool]
		if !ok {
			i = len(list)
			index[b.Pool] = i
			list = append(list, api.Pool{Name: b.Pool})
		}
		st := b.State()
		list[i].Sessions += st.Sessions
		list[i].Requests += st.Requests
		listed := ""
		if st.Listed != pool.ListedReady {
			listed = st.Listed.String()
		}
		list[i].Backends = append(list[i].Backends, api.Backend{
			Name: b.Name, Address: b.Address, State: st.Name, Operational: st.Operational.String(), Admin: st.Admin.String(), Listed: listed,
			Reason: st.Reason, Since: when(st.Since), Weight: members[b].Weight, Backup: members[b].Backup, Share: st.Share,
			Sessions: st.Sessions, Requests: st.Requests, MaxSessions: st.MaxSessions, Drain: drains[b],
		})
	}
	return list
}

// when returns nil for the zero time.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func traffic(t session.Traffic) api.Traffic {
	return api.Traffic{Messages: t.Messages, Bytes: t.Bytes}
}

// engineName is the word of the configuration for an engine.
func engineName(e relay.Engine) string {
	if _, ok := e.(*relay.Portable); ok {
		return "portable"
	}
	return "epoll"
}
