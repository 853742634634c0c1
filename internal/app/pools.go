package app

import (
	"fmt"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/sticky"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
	"github.com/holdfast-ws/holdfast/internal/upstream/changes"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/internal/upstream/health"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// poolSpecs returns the pools of c with their configured and discovered backends.
func (a *App) poolSpecs(c *config.Config) []pool.Spec {
	var specs []pool.Spec
	for i := range c.Pools {
		p := &c.Pools[i]
		s := pool.Spec{
			Name: p.Name, Balance: p.Balance, MaxSessions: p.MaxSessions,
			SlowStart: p.Health.SlowStart, MaxFails: p.Health.MaxFails, FailTimeout: p.Health.FailTimeout,
			Checked: p.Health.Active(),
		}
		s.Backends = a.merged(p).Backends
		specs = append(specs, s)
	}
	return specs
}

// sourcesOf says where the backends of a pool come from, by name: "file", "runtime", or a
// source of discovery.
func (a *App) sourcesOf(p *config.Pool, m *changes.Merged) map[string]string {
	sources := map[string]string{}
	if p.Discovers() {
		sources = a.discovery.Sources(p.Name)
	}
	for _, b := range p.Backends {
		sources[b.Name] = "file"
	}
	for name := range m.Added {
		sources[name] = "runtime"
	}
	return sources
}

// listed has the words of upstream/pool for those of upstream/discovery.
var listed = map[discovery.MemberState]pool.Listed{
	discovery.Ready: pool.ListedReady, discovery.Unready: pool.ListedUnready, discovery.Terminating: pool.ListedTerminating,
}

// minHealthyOf returns how many of a pool's backends that are no backups must be
// available; with fewer, health is ignored.
func minHealthyOf(p *config.Pool, members []pool.Member) int {
	return balance.MinHealthy(p.Health.MinHealthy.Count, p.Health.MinHealthy.Percent, pool.Primaries(members))
}

// newPool makes the pool of a generation. learned is its table of keys, if it has one.
func newPool(p *config.Pool, members []pool.Member, learned *sticky.Table) (*generation.Pool, error) {
	minHealthy := minHealthyOf(p, members)
	picker, err := balance.New(balance.Options{Algorithm: p.Balance, Bound: p.Hash.Bound, MinHealthy: minHealthy, KeepDraining: p.Drain.Sticky == "keep"}, members)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", p.Name, err)
	}
	made := &generation.Pool{Picker: picker, Refuse: p.Affinity.Fallback == "refuse", Reattach: p.Reattach, ProxyProtocol: proxyVersion(p)}
	for _, r := range p.RetryOn {
		made.RetryOn = append(made.RetryOn, [2]int{r.From, r.To})
	}
	if p.Balance == "hash" {
		made.Key = p.Hash.Key
	}
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Backend.Name
	}
	if l := p.Affinity.Learn; l != nil {
		made.Learned = generation.NewLearned(learned, l.From, l.Answer, names)
	}
	if c := p.Affinity.Cookie; c != nil {
		cookie := cookieOf(c)
		if err := cookie.Validate(); err != nil {
			return nil, fmt.Errorf("pool %q: affinity: %w", p.Name, err)
		}
		made.Cookie = affinity.NewTable(cookie, p.Name, names)
	}
	if t := p.Affinity.Token; t != nil {
		made.Token = t.From
		if made.Tokens, err = balance.New(balance.Options{Algorithm: "hash", MinHealthy: minHealthy, KeepDraining: p.Drain.Sticky == "keep"}, members); err != nil {
			return nil, fmt.Errorf("pool %q: %w", p.Name, err)
		}
	}
	return made, nil
}

// learned is the table of the keys of a pool, which survives reloads; nil if it learns none.
func (a *App) learned(p *config.Pool) *sticky.Table {
	if l := p.Affinity.Learn; l != nil {
		return a.sticky.Configure(p.Name, sticky.Options{Max: l.Max, Expire: l.Expire})
	}
	return nil
}

// forgetLearned forgets the tables of pools that learn no keys in c.
func (a *App) forgetLearned(c *config.Config) {
	a.sticky.Keep(func(pool string) bool {
		return slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Name == pool && p.Affinity.Learn != nil })
	})
}

func proxyVersion(p *config.Pool) proxyproto.Version {
	return map[string]proxyproto.Version{"v1": proxyproto.V1, "v2": proxyproto.V2}[p.ProxyProtocol]
}

func cookieOf(c *config.Cookie) affinity.Cookie {
	secure := map[string]affinity.Secure{"auto": affinity.Auto, "always": affinity.Always, "never": affinity.Never}
	return affinity.Cookie{
		Name: c.Name, Path: c.Path, Domain: c.Domain, SameSite: c.SameSite,
		MaxAge: c.MaxAge, Secure: secure[c.Secure], Named: c.Value == "name", Secret: c.Secret,
	}
}

func healthSpecs(c *config.Config, tls map[string]*backendtls.Client) map[string]health.Spec {
	specs := map[string]health.Spec{}
	for i := range c.Pools {
		h := &c.Pools[i].Health
		if !h.Active() {
			continue
		}
		s := health.Spec{Interval: h.Interval, Timeout: h.Timeout, Fall: h.Fall, Rise: h.Rise, Port: h.Port, Proxy: proxyVersion(&c.Pools[i])}
		if client := tls[c.Pools[i].Name]; client != nil {
			s.TLS = client
		}
		if h.HTTP != nil {
			check := health.HTTP{Path: h.HTTP.Path, Method: h.HTTP.Method, Body: h.HTTP.Body, Host: h.HTTP.Host, Headers: h.HTTP.Headers}
			for _, r := range h.HTTP.Expect {
				check.Expect = append(check.Expect, health.StatusRange(r))
			}
			s.Checks = append(s.Checks, check)
		}
		if h.WebSocket != nil {
			s.Checks = append(s.Checks, health.WebSocket(*h.WebSocket))
		}
		if h.TCP {
			s.Checks = append(s.Checks, health.TCP{})
		}
		if h.Agent != nil {
			s.Checks = append(s.Checks, health.Agent(*h.Agent))
		}
		specs[c.Pools[i].Name] = s
	}
	return specs
}
