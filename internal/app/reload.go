package app

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Reload loads the configuration again and uses it from now on. If it returns an
// error, nothing has changed. Open sessions go on, except those of backends that
// were removed.
func (a *App) Reload() (warnings []string, err error) {
	a.spare.enter()
	defer a.spare.leave()
	a.reload.Lock()
	defer a.reload.Unlock()
	if !a.stopping() {
		a.manager.Reloading()
		defer func() { a.reloaded(err) }()
	}
	defer func() {
		a.metrics.ConfigLoaded(err == nil, time.Now())
		if err != nil {
			a.noted(api.EventReload).Error("reload refused; nothing has changed", "error", err)
		}
	}()
	if a.stopped {
		return nil, errStopping
	}
	if a.options.File == "" && !a.options.Program {
		return nil, api.Conflict("", "there is no file to reload: the balancer was started with --listen and --backend")
	}
	c, err := a.options.Load()
	if err != nil {
		return nil, err
	}
	if err := a.options.overrideAdmin(c); err != nil {
		return nil, err
	}
	backendTLS, err := a.readBackendTLS(c)
	if err != nil {
		return nil, err
	}
	auth, err := a.loadAuth(c)
	if err != nil {
		return nil, err
	}
	tracing, err := loadTracing(c)
	if err != nil {
		return nil, err
	}
	listening, err := a.prepareListeners(c, auth)
	if err != nil {
		return nil, err
	}
	logFile, err := openLogFile(c) // again, as it may have been renamed
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && logFile != nil {
			logFile.Close()
		}
	}()
	// Listeners first, since they may still fail. A new one that accepts a
	// connection before the swap below serves it by the old routes, as if the
	// client had come a moment earlier.
	if err := a.listeners.Apply(listening.specs); err != nil {
		return nil, err
	}
	old := a.current.Load()
	a.coming.Store(c)
	defer a.coming.Store(nil)
	a.discovery.Apply(discoverySpecs(c), firstFound)
	before := a.overrides.get()
	a.overrides.put(a.settled(c))
	g, left, err := a.build(c, backendTLS, auth, a.proxy.Generation().Number+1)
	if err != nil {
		a.overrides.put(before)
		a.discovery.Apply(discoverySpecs(old), 0)
		return nil, errors.Join(err, a.listeners.Apply(a.listening.specs))
	}
	a.useAuth(auth, firstFound)
	a.useTracing(tracing)
	a.proxy.Swap(g)
	a.backendTLS = backendTLS
	a.useListeners(c, listening)
	a.tune(c)
	a.current.Store(c)
	a.saveSettled(before)
	a.metrics.Refresh()
	a.rebalancer.PoolsChanged()
	a.gate.SetPerAddress(c.Limits.MaxHandshakesPerAddress)
	lowest := a.log.Level() // as an operator may have set it
	if old.Log.Level != c.Log.Level {
		lowest = level(c)
	}
	a.log.SetFormatLevel(c.Log.Format, lowest)
	a.log.Use(logFile)
	a.long.intervalChanged()
	a.tellOrigin(c)
	warnings = append(texts(c.Warnings, listening.untimely(c), expiring(backendTLS, c)), listening.unused...)
	for _, what := range needRestart(old, c) {
		warnings = append(warnings, fmt.Sprintf("%s: %s changed, which takes effect at the next start", cmp.Or(a.options.File, "the configuration"), what))
	}
	a.noted(api.EventReload).Info("reloaded", "generation", g.Number, "backends_left", len(left))
	a.warnOnce(warnings)
	return warnings, nil
}

var errStopping = api.Conflict("", "the balancer is shutting down")

// firstFound bounds how long a start or reload waits for the first answers of
// discovery.
const firstFound = 2 * time.Second

// rediscover uses the backends that were found for pools. Everything else stays
// unchanged.
func (a *App) rediscover(pools []string) {
	a.spare.enter()
	defer a.spare.leave()
	a.reload.Lock()
	defer a.reload.Unlock()
	c := a.current.Load()
	if a.proxy == nil || a.stopped {
		return
	}
	for i := range c.Pools {
		if p := &c.Pools[i]; slices.Contains(pools, p.Name) {
			if g := a.proxy.Generation().Pools[p.Name]; g != nil {
				a.dropUnlisted(p, g.Picker.Members())
			}
		}
	}
	g, left, err := a.build(c, a.backendTLS, a.auth, a.proxy.Generation().Number+1)
	if err != nil {
		a.noted(api.EventBackends).Error("what was discovered can't be used; nothing has changed", "pools", pools, "error", err)
		return
	}
	a.proxy.Swap(g)
	a.metrics.Refresh()
	for _, name := range pools {
		p := g.Pools[name]
		if p == nil {
			continue // a reload has just removed it
		}
		gone := 0
		for _, b := range left {
			if b.Pool == name {
				gone++
			}
		}
		a.noted(api.EventBackends).Info("the backends of a pool changed", "pool", name, "generation", g.Number,
			"backends", len(p.Picker.Members()), "backends_left", gone)
	}
}
