package app

import (
	"crypto/x509"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/metrics"
	"github.com/holdfast-ws/holdfast/internal/ops/rates"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
	"github.com/holdfast-ws/holdfast/internal/upstream/health"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// Status returns the status that the admin interface serves. It asks the event loops once.
func (a *App) Status() api.Status {
	a.spare.enter()
	defer a.spare.leave()
	c := a.current.Load()
	s := api.Status{
		Version:       a.options.Version,
		Started:       a.started,
		Draining:      a.stopping(),
		DrainingSince: a.ending.Load(),
		Generation:    a.proxy.Generation().Number,
		ConfigFile:    a.options.File,
		Changes:       len(a.rows()),
		LogLevel:      levelWord(a.log.Level()),
		Listeners:     []api.Listener{},
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
	t := a.engine.Traffic()
	s.Totals = api.Totals{
		Active: a.engine.Active(), Requests: a.proxy.HTTPRequests(), Opened: a.opened.Load(),
		FromClient: traffic(t[session.Client]), FromBackend: traffic(t[session.Backend]),
	}
	v := a.newView(c, &s.Totals)
	s.Pools = v.pools(c)
	s.Rates = ratesOf(v.span.Growth(metrics.Labels{}))
	return s
}

// view is what is known of pools and backends at one moment.
type view struct {
	*App
	members map[*pool.Backend]pool.Member
	sources map[*pool.Backend]string
	changed map[*pool.Backend][]string
	drains  map[*pool.Backend]*api.Drain
	checks  map[*pool.Backend]health.Last
	counts  *metrics.AllCounts
	span    *rates.Span[metrics.Labels]
	// shown has the backends whose names are used by backends that are configured.
	shown    map[metrics.Labels]bool
	backends []*pool.Backend
}

// newView asks all who know something. totals are those of the whole balancer.
func (a *App) newView(c *config.Config, totals *api.Totals) *view {
	v := &view{App: a, members: map[*pool.Backend]pool.Member{}, sources: map[*pool.Backend]string{}, changed: map[*pool.Backend][]string{},
		drains: map[*pool.Backend]*api.Drain{},
		checks: a.checker.Last(), counts: a.metrics.Counts(), shown: map[metrics.Labels]bool{}, backends: a.registry.Backends()}
	pools := a.proxy.Generation().Pools
	for i := range c.Pools {
		p := &c.Pools[i]
		g := pools[p.Name]
		if g == nil {
			continue
		}
		merged := a.merged(p)
		sources := a.sourcesOf(p, &merged)
		changed := map[string][]string{}
		for _, r := range merged.Rows {
			if r.Problem == "" {
				changed[r.Backend] = append(changed[r.Backend], r.Field)
			}
		}
		for _, m := range g.Picker.Members() {
			v.members[m.Backend], v.sources[m.Backend] = m, sources[m.Backend.Name]
			v.changed[m.Backend] = changed[m.Backend.Name]
			v.shown[metrics.Labels{Pool: p.Name, Backend: m.Backend.Name}] = true
		}
	}
	for _, d := range a.drainer.States() {
		v.drains[d.Backend] = &api.Drain{Since: d.Since, Deadline: d.Deadline, Sessions: d.Sessions}
	}
	values := make(map[metrics.Labels]rates.Values, len(v.backends)+len(c.Pools)+1)
	for i := range c.Pools {
		values[metrics.Labels{Pool: c.Pools[i].Name}] = valuesOf(v.counts.Pool(c.Pools[i].Name))
	}
	for _, b := range v.backends {
		values[metrics.Labels{Pool: b.Pool}] = valuesOf(v.counts.Pool(b.Pool))
		values[metrics.Labels{Pool: b.Pool, Backend: b.Name}] = valuesOf(v.counts.Backend(b.Pool, b.Name))
	}
	values[metrics.Labels{}] = rates.Values{Opened: totals.Opened, Closed: totals.Opened - min(totals.Opened, uint64(totals.Active)),
		Messages: totals.FromClient.Messages + totals.FromBackend.Messages, Bytes: totals.FromClient.Bytes + totals.FromBackend.Bytes}
	v.span = a.rates.Since(time.Now(), values)
	return v
}

func valuesOf(c *metrics.Counts) rates.Values {
	return rates.Values{Opened: c.Opened, Closed: c.Closed(), Messages: c.Messages(), Bytes: c.Bytes(), Durations: c.Durations[:]}
}

// pools lists the pools of c, then those that were removed and still have sessions.
func (v *view) pools(c *config.Config) []api.Pool {
	list := make([]api.Pool, 0, len(c.Pools))
	rebalances, learned := v.rebalancer.States(), v.sticky.Stats()
	index := map[string]int{}
	for i := range c.Pools {
		p := &c.Pools[i]
		index[p.Name] = len(list)
		list = append(list, api.Pool{Name: p.Name, Balance: p.Balance, MaxSessions: p.MaxSessions, LearnedKeys: learned[p.Name].Keys,
			Counts: v.countsOf(v.counts.Pool(p.Name), metrics.Labels{Pool: p.Name}), Backends: []api.Backend{}})
		if r, ok := rebalances[p.Name]; ok {
			list[i].Rebalance = &api.Rebalance{Active: r.Active, Excess: r.Excess, Given: r.Given}
			if r.Active {
				list[i].Rebalance.Since = &r.Since
			}
		}
		if g := v.proxy.Generation().Pools[p.Name]; g != nil && g.Admit != nil {
			list[i].Queued = g.Admit.Waiting()
		}
	}
	for _, d := range v.discovery.States() {
		if i, ok := index[d.Pool]; ok {
			list[i].Discovery = append(list[i].Discovery, api.Discovery{Source: d.Source, Since: when(d.Answered), LastError: d.LastError})
		}
	}
	for _, b := range v.backends {
		i, ok := index[b.Pool]
		if !ok {
			i = len(list)
			index[b.Pool] = i
			list = append(list, api.Pool{Name: b.Pool, Counts: v.countsOf(v.counts.Pool(b.Pool), metrics.Labels{Pool: b.Pool})})
		}
		one := v.backend(b)
		list[i].Sessions += one.Sessions
		list[i].Requests += one.Requests
		list[i].Backends = append(list[i].Backends, one)
	}
	return list
}

// backend describes b.
func (v *view) backend(b *pool.Backend) api.Backend {
	st, m := b.State(), v.members[b]
	one := api.Backend{
		Name: b.Name, Address: b.Address, State: st.Name, Operational: st.Operational.String(), Admin: st.Admin.String(),
		Reason: st.Reason, Since: when(st.Since), Weight: m.Weight, Backup: m.Backup, Share: st.Share, Source: v.sources[b], Changed: v.changed[b],
		Sessions: st.Sessions, Requests: st.Requests, MaxSessions: st.MaxSessions, Drain: v.drains[b],
	}
	if st.Listed != pool.ListedReady {
		one.Listed = st.Listed.String()
	}
	if last, ok := v.checks[b]; ok {
		one.LastCheck = &api.Check{At: last.At, OK: last.OK, Reason: last.Reason, Duration: last.Duration.Seconds()}
	}
	one.Certificate = v.certificate(b, &st)
	// The counts of one that has left are among those of its successor with the same name.
	if l := (metrics.Labels{Pool: b.Pool, Backend: b.Name}); !b.Removed() || !v.shown[l] {
		one.Counts = v.countsOf(v.counts.Backend(b.Pool, b.Name), l)
	}
	return one
}

// certificate is the one that b has shown last; nil if that isn't known.
func (a *App) certificate(b *pool.Backend, st *pool.State) *api.BackendCertificate {
	p := a.proxy.Generation().Pools[b.Pool]
	if p == nil || p.TLS == nil {
		return nil
	}
	for _, addr := range st.Addresses {
		if cert := p.TLS.Shown(addr); cert != nil {
			about := certs.Info{NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}
			return &api.BackendCertificate{Names: namesOf(cert), NotAfter: cert.NotAfter, DaysLeft: about.DaysLeft(time.Now())}
		}
	}
	return nil
}

// maxNames bounds the names of a backend's certificate that are shown.
const maxNames = 20

func namesOf(cert *x509.Certificate) []string {
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	return names[:min(len(names), maxNames)]
}

// countsOf has what was counted, and its rates.
func (v *view) countsOf(n *metrics.Counts, l metrics.Labels) api.Counts {
	c := api.Counts{Opened: n.Opened, Failed: n.Failed, FromClient: traffic(n.Sent[session.Client]), FromBackend: traffic(n.Sent[session.Backend])}
	for cause, count := range n.Closes {
		if count > 0 {
			if c.Closes == nil {
				c.Closes = map[string]uint64{}
			}
			c.Closes[session.Cause(cause).String()] = count
		}
	}
	g := v.span.Growth(l)
	c.Rates = ratesOf(g)
	if g.Count > 0 {
		c.Handshake = &api.Latency{Over: g.Over.Seconds(), Count: g.Count, P50: g.P50, P99: g.P99}
	}
	return c
}

func ratesOf(g rates.Growth) api.Rates {
	return api.Rates{Over: g.Over.Seconds(), Opened: g.Opened, Closed: g.Closed, Messages: g.Messages, Bytes: g.Bytes}
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
