package app

import (
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/affinity"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/discovery"
	"github.com/holdfast-ws/holdfast/internal/health"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/requestkey"
)

// poolSpecs are the pools of c with the backends of the file and those that
// were found.
func (a *App) poolSpecs(c *config.Config) []pool.Spec {
	var specs []pool.Spec
	for i := range c.Pools {
		p := &c.Pools[i]
		s := pool.Spec{
			Name: p.Name, Balance: p.Balance, MaxSessions: p.MaxSessions,
			SlowStart: p.Health.SlowStart, MaxFails: p.Health.MaxFails, FailTimeout: p.Health.FailTimeout,
			Checked: checked(&p.Health),
		}
		for _, b := range a.backendsOf(p) {
			s.Backends = append(s.Backends, pool.BackendSpec(b))
		}
		specs = append(specs, s)
	}
	return specs
}

// backendsOf lists a pool's backends. What the file says of a name or an
// address counts more than what was found.
func (a *App) backendsOf(p *config.Pool) []config.Backend {
	if p.DNS == nil && p.File == "" {
		return p.Backends
	}
	all := append([]config.Backend(nil), p.Backends...)
	names, addresses := map[string]bool{}, map[string]bool{}
	for _, b := range all {
		names[b.Name], addresses[b.Address] = true, true
	}
	for _, m := range a.discovery.Members(p.Name) {
		if !m.Among(names, addresses) {
			all = append(all, config.Backend(m))
		}
	}
	return all
}

// minHealthyOf is how many of a pool's n backends must be fit for health to be
// believed.
func minHealthyOf(p *config.Pool, n int) int {
	if percent := p.Health.MinHealthyPercent; percent > 0 {
		return (percent*n + 99) / 100
	}
	return p.Health.MinHealthy
}

// newPool makes what the spine needs of a pool.
func newPool(p *config.Pool, members []pool.Member) (*proxy.Pool, error) {
	minHealthy := minHealthyOf(p, len(members))
	picker, err := balance.New(balance.Options{Kind: p.Balance, Bound: p.Hash.Bound, MinHealthy: minHealthy, KeepDraining: p.Drain.StickyKeep}, members)
	if err != nil {
		return nil, fmt.Errorf("pool %q: %w", p.Name, err)
	}
	made := &proxy.Pool{Picker: picker, Refuse: p.Affinity.Fallback == "refuse", Reattach: reattachOf(p.Reattach)}
	if p.Balance == "hash" {
		if made.Key, err = parts(p.Hash.Key, requestkey.Parse); err != nil {
			return nil, fmt.Errorf("pool %q: hash: %w", p.Name, err)
		}
	}
	if c := p.Affinity.Cookie; c != nil {
		names := make([]string, len(members))
		for i, m := range members {
			names[i] = m.Backend.Name
		}
		cookie := cookieOf(c)
		if err := cookie.Validate(); err != nil {
			return nil, fmt.Errorf("pool %q: affinity: %w", p.Name, err)
		}
		made.Cookie = affinity.NewTable(cookie, p.Name, names)
	}
	if t := p.Affinity.Token; t != nil {
		if made.Token, err = parts(t.From, requestkey.ParseToken); err != nil {
			return nil, fmt.Errorf("pool %q: affinity: %w", p.Name, err)
		}
		if made.Tokens, err = balance.New(balance.Options{Kind: "hash", MinHealthy: minHealthy, KeepDraining: p.Drain.StickyKeep}, members); err != nil {
			return nil, fmt.Errorf("pool %q: %w", p.Name, err)
		}
	}
	return made, nil
}

func parts(words []string, parse func(string) (requestkey.Part, error)) ([]requestkey.Part, error) {
	var list []requestkey.Part
	for _, w := range words {
		p, err := parse(w)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func cookieOf(c *config.Cookie) affinity.Cookie {
	secure := map[string]affinity.Secure{"auto": affinity.Auto, "always": affinity.Always, "never": affinity.Never}
	return affinity.Cookie{
		Name: c.Name, Path: c.Path, Domain: c.Domain, SameSite: c.SameSite,
		MaxAge: c.MaxAge, Secure: secure[c.Secure], Secret: c.Secret,
	}
}

func reattachOf(r *config.Reattach) *proxy.Reattach {
	if r == nil {
		return nil
	}
	return &proxy.Reattach{Drain: r.Drain, Loss: r.Loss, Rebalance: r.Rebalance, Timeout: r.Timeout}
}

func checked(h *config.Health) bool {
	return h.HTTP != nil || h.WebSocket != nil || h.TCP || h.Agent != nil
}

func healthSpecs(c *config.Config) map[string]health.Spec {
	specs := map[string]health.Spec{}
	for i := range c.Pools {
		h := &c.Pools[i].Health
		if !checked(h) {
			continue
		}
		s := health.Spec{TCP: h.TCP, Interval: h.Interval, Timeout: h.Timeout, Fall: h.Fall, Rise: h.Rise}
		if check := h.HTTP; check != nil {
			s.HTTP = &health.HTTP{Path: check.Path, Host: check.Host, Header: check.Headers}
			for _, r := range check.Expect {
				s.HTTP.Expect = append(s.HTTP.Expect, health.StatusRange(r))
			}
		}
		if check := h.WebSocket; check != nil {
			s.WebSocket = &health.WebSocket{
				Path: check.Path, Host: check.Host, Header: check.Headers,
				Send: check.Send, Expect: check.Expect, Subprotocol: check.Subprotocol,
			}
		}
		if agent := h.Agent; agent != nil {
			s.Agent = &health.Agent{Port: agent.Port, Send: agent.Send}
		}
		specs[c.Pools[i].Name] = s
	}
	return specs
}

func discoverySpecs(c *config.Config) map[string]discovery.Spec {
	specs := map[string]discovery.Spec{}
	for _, p := range c.Pools {
		if p.DNS == nil && p.File == "" {
			continue
		}
		s := discovery.Spec{File: p.File}
		if d := p.DNS; d != nil {
			s.DNS = &discovery.DNS{Name: d.Name, Type: d.Type, Port: d.Port, Refresh: d.Refresh, Server: d.Server}
		}
		specs[p.Name] = s
	}
	return specs
}
