package app

import (
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// build makes a generation of c. tls has the pools with TLS to their backends, and set is
// who may come. From
// then on the registry has c's backends; those that are no longer in it are returned.
// An error changes nothing.
func (a *App) build(c *config.Config, tls map[string]*backendtls.Client, set *authSet, number uint64) (*generation.Generation, []*pool.Backend, error) {
	clientCert := clientCertPolicy(c)
	trust, unix := config.Networks(c.Forwarded.Trust)
	g := &generation.Generation{
		Number: number,
		Pools:  make(map[string]*generation.Pool, len(c.Pools)),
		Labels: make(map[string]uint32, len(c.Routes)),
		Forwarded: &forwarded.Policy{
			Trust:        trust,
			TrustUnix:    unix,
			NoXForwarded: !c.Forwarded.XForwarded,
			Forwarded:    c.Forwarded.Forwarded,
			XRealIP:      c.Forwarded.XRealIP,
			Via:          c.HTTP.Via,
			Except:       clientCert.IsReserved,
		},
		IDs:        requestid.Policy{RequestID: c.Forwarded.RequestID, TraceContext: c.Forwarded.TraceContext},
		ClientCert: clientCert,
		Limits:     relayLimits(c, &c.Limits.SessionLimits),
		Common:     a.limitRules(c.Limits.RouteLimits, config.RouteLimits{}, ""),
		Exempt:     c.Limits.Exempt,
		Dial:       dial.Dialer{Network: a.engine, Timeout: c.Timeouts.Connect},
		Handshake:  c.Timeouts.Handshake,
		MaxHead:    c.HTTP.MaxHeaderBytes,
		HTTP: httpproxy.Timeouts{
			Response: c.HTTP.ResponseTimeout, Body: c.HTTP.BodyTimeout,
			BackendIdle: c.HTTP.BackendIdleTimeout, AbortOnClose: c.HTTP.AbortOnClose,
		},
		MaxConnections: c.HTTP.MaxConnectionsPerAddress,
		HTTPLimits:     httpproxy.Limits{Idle: c.HTTP.IdleTimeout, Send: c.HTTP.SendTimeout},
	}
	rules := routeRules(c)
	if g.HTTP.BackendIdle == 0 {
		g.HTTP.BackendIdle = -1 // 0 would mean the default
	}
	var err error
	g.Routes = route.New(rules)
	g.Listeners = listenerPolicies(c, set)
	if g.Policies, err = a.policies(c, g, rules); err != nil {
		return nil, nil, err
	}
	set.use(g)
	for i := range g.Policies {
		g.OtherUpgrades = g.OtherUpgrades || len(g.Policies[i].Upgrades) > 0
	}
	for _, r := range rules {
		g.Labels[r.Label] = a.names.Number(r.Label)
	}
	for i := range c.Pools {
		if _, err := newPool(&c.Pools[i], nil, nil); err != nil {
			return nil, nil, err
		}
	}
	pools, left := a.registry.Apply(a.poolSpecs(c))
	for i := range c.Pools {
		p := &c.Pools[i]
		if g.Pools[p.Name], err = newPool(p, pools[p.Name].Members, a.learned(p)); err != nil {
			return nil, nil, err // checked above
		}
		g.Pools[p.Name].TLS = tls[p.Name]
		a.setAdmit(p, g.Pools[p.Name])
	}
	a.operate(c, pools)
	a.keepQueues(c, left)
	a.forgetLearned(c)
	a.checker.Apply(pools, healthSpecs(c, tls))
	return g, left, nil
}

// tune gives the engine the settings that apply to the sessions of all
// generations.
func (a *App) tune(c *config.Config) {
	a.engine.Tune(relay.Tuning{
		CloseTimeout: c.Timeouts.Close,
		IdleMessages: c.Timeouts.IdleCounts == "messages",
		Unsent:       c.Limits.SendBuffer,
		Backlog:      int64(c.Limits.BacklogMemory),
	})
}

// clientCertPolicy is what backends are told about client certificates.
func clientCertPolicy(c *config.Config) *clientcert.Policy {
	fields := map[string][]clientcert.Field{}
	for _, l := range c.Listeners {
		if l.TLS == nil {
			continue
		}
		for _, h := range l.TLS.ClientHeaders {
			if fact, ok := clientcert.ParseFact(h[1]); ok { // as validated
				fields[l.Name] = append(fields[l.Name], clientcert.Field{Name: h[0], Fact: fact})
			}
		}
	}
	return clientcert.New(fields)
}

// needRestart names the keys that changed and take effect only at the next start.
func needRestart(old, now *config.Config) (keys []string) {
	keys = adminRestart(&old.Admin, &now.Admin)
	if old.Engine != now.Engine {
		keys = append(keys, "engine")
	}
	before, after := old.Limits, now.Limits // the others take effect at once
	if before.MaxSessions != after.MaxSessions || before.MaxHandshakes != after.MaxHandshakes {
		keys = append(keys, "limits")
	}
	return keys
}

// adminRestart is needRestart for the section admin.
func adminRestart(old, now *config.Admin) (keys []string) {
	for _, k := range []struct {
		name    string
		changed bool
	}{
		{"admin.socket", old.Socket != now.Socket},
		{"admin.socket_mode", old.Permissions() != now.Permissions()},
		{"admin.address", old.Address != now.Address},
		{"admin.tls", (old.TLS == nil) != (now.TLS == nil)},
		{"admin.state", old.State != now.State},
		{"admin.health", old.Health != now.Health},
	} {
		if k.changed {
			keys = append(keys, k.name)
		}
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
