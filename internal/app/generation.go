package app

import (
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/dial"
	"github.com/holdfast-ws/holdfast/internal/forwarded"
	"github.com/holdfast-ws/holdfast/internal/listener"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/proxy"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/route"
)

// build makes a generation of c. The registry has c's backends from then on;
// those that left are returned. An error changes nothing.
func (a *App) build(c *config.Config, number uint64) (*proxy.Generation, []*pool.Backend, error) {
	g := &proxy.Generation{
		Number:    number,
		Pools:     make(map[string]*proxy.Pool, len(c.Pools)),
		Labels:    make(map[string]uint32, len(c.Routes)),
		Forwarded: &forwarded.Policy{Trust: c.Forwarded.Trust},
		Limits: relay.Limits{
			Idle:              c.Timeouts.Idle,
			Lifetime:          c.Timeouts.MaxLifetime,
			KeepaliveInterval: c.Keepalive.Interval,
			KeepaliveTimeout:  c.Keepalive.Timeout,
		},
		Dial:      dial.Dialer{Network: a.engine, Timeout: c.Timeouts.Connect},
		Handshake: c.Timeouts.Handshake,
	}
	rules := routeRules(c)
	var err error
	if g.Routes, err = route.New(rules); err != nil {
		return nil, nil, err
	}
	for _, r := range rules {
		g.Labels[r.Label] = a.names.Number(r.Label)
	}
	for i := range c.Pools {
		if _, err := newPool(&c.Pools[i], nil); err != nil {
			return nil, nil, err
		}
	}
	pools, left := a.registry.Apply(a.poolSpecs(c))
	for i := range c.Pools {
		p := &c.Pools[i]
		if g.Pools[p.Name], err = newPool(p, pools[p.Name].Members); err != nil {
			return nil, nil, err // checked above
		}
		a.setAdmit(p, g.Pools[p.Name])
	}
	a.keepQueues(c, left)
	a.checker.Apply(pools, healthSpecs(c))
	return g, left, nil
}

func routeRules(c *config.Config) []route.Rule {
	if len(c.Routes) == 0 {
		return []route.Rule{{Pool: c.Pools[0].Name}}
	}
	var rules []route.Rule
	for _, r := range c.Routes {
		rules = append(rules, route.Rule{
			Host: r.Match.Host, Path: r.Match.Path, WebSocket: r.Match.WebSocket,
			Pool: r.Pool, Label: r.Match.Host + r.Match.Path,
		})
	}
	return rules
}

func listenerSpecs(c *config.Config) []listener.Spec {
	var specs []listener.Spec
	for _, l := range c.Listeners {
		specs = append(specs, listener.Spec{Name: l.Name, Address: l.Address})
	}
	return specs
}

// needRestart names the keys that changed and can't be taken while running.
func needRestart(old, now *config.Config) (keys []string) {
	if old.Admin.Address != now.Admin.Address {
		keys = append(keys, "admin.address")
	}
	if old.Engine != now.Engine {
		keys = append(keys, "engine")
	}
	if old.Limits != now.Limits {
		keys = append(keys, "limits")
	}
	return keys
}

func level(c *config.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return slog.LevelInfo
	}
	return l
}
