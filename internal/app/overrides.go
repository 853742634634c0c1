package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/statefile"
	"github.com/holdfast-ws/holdfast/internal/upstream/changes"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// overrides are the changes of backends that operators have made at run time. App.reload
// guards all but reading set.
type overrides struct {
	set  atomic.Pointer[changes.Set] // nil before Start has read them
	file *statefile.File             // nil if they aren't kept
	// unkept says why they aren't kept, although they should be.
	unkept string
	// explain sets a file aside that can't be used, and logs what became of it. Start calls
	// it once the balancer has started: a start that fails says why, and nothing else.
	explain func()
}

// stateVersion is the version of the state file. A later one must read the earlier ones.
const stateVersion = 1

func (o *overrides) get() changes.Set {
	if set := o.set.Load(); set != nil {
		return *set
	}
	return nil
}

func (o *overrides) put(set changes.Set) { o.set.Store(&set) }

// openState reads the changes that the balancer has kept at its last run. Nothing about
// that file stops a start.
func (a *App) openState(path string) {
	a.overrides.put(nil)
	a.overrides.explain = func() {}
	auto := path == config.StateAuto
	if auto {
		path = a.options.State
	}
	switch {
	case path == "" && auto && a.options.NoState != "":
		a.unkept(slog.LevelInfo, a.options.NoState)
		return
	case path == "" || path == config.StateOff:
		return
	}
	var set changes.Set
	file, err := statefile.Open(path, stateVersion, &set)
	switch {
	case errors.Is(err, statefile.ErrInUse):
		a.unkept(slog.LevelWarn, fmt.Sprintf("%s: %v: give this one a file of its own by admin.state", path, err))
		return
	case err != nil && auto: // nobody has asked for it
		a.unkept(slog.LevelInfo, err.Error())
		return
	case err != nil:
		a.unkept(slog.LevelWarn, err.Error())
		return
	}
	a.overrides.file = file
	a.overrides.put(set)
	a.overrides.explain = func() {
		aside, err := file.SetAside()
		if err != nil {
			a.closeState()
			a.unkept(slog.LevelWarn, err.Error())
			a.overrides.explain()
			return
		}
		if aside != "" {
			a.noted(api.EventChange).Warn("the file of changes at run time can't be used; there are none now", "error", aside)
		}
		if n := set.Len(); n > 0 {
			a.slog.Info("changes of backends at run time are in effect again", "backends", n, "file", path)
		}
	}
}

// unkept notes why changes aren't kept.
func (a *App) unkept(level slog.Level, why string) {
	a.overrides.unkept = why
	a.overrides.explain = func() {
		a.slog.Log(context.Background(), level, "changes of backends at run time are not kept after the next stop; set admin.state to a path, or to off", "error", why)
	}
}

// saveState keeps the changes; warning says that it can't.
func (a *App) saveState() (warning string) {
	o := &a.overrides
	if o.file == nil {
		if o.unkept != "" {
			warning = "the change is lost at the next stop: " + o.unkept
		}
		return warning
	}
	if err := o.file.Save(o.get()); err != nil {
		warning = fmt.Sprintf("the change is lost at the next stop, since it can't be written: %v", err)
		a.noted(api.EventChange).Error("changes of backends at run time can't be written", "error", err)
	}
	return warning
}

// saveSettled keeps the changes after a configuration was loaded, unless they are as before.
func (a *App) saveSettled(before changes.Set) {
	if !reflect.DeepEqual(before, a.overrides.get()) {
		a.saveState()
	}
}

// closeState lets another balancer use the file: this one changes nothing any more.
func (a *App) closeState() {
	if o := &a.overrides; o.file != nil {
		o.file.Close()
		o.file = nil
	}
}

// settled is the changes without those that c, which is loaded now, has in it.
func (a *App) settled(c *config.Config) changes.Set {
	set := a.overrides.get()
	for i := range c.Pools {
		p := &c.Pools[i]
		set = set.Settle(p.Name, listedBackends(p), p.Discovers())
	}
	return set
}

// listedBackends are those of the configuration.
func listedBackends(p *config.Pool) []pool.BackendSpec {
	all := make([]pool.BackendSpec, len(p.Backends))
	for i, b := range p.Backends {
		all[i] = pool.BackendSpec{Name: b.Name, Address: b.Address.String(), Weight: b.Weight, MaxSessions: b.MaxSessions, HealthPort: b.HealthPort, Backup: b.Backup}
	}
	return all
}

// merged joins the configuration of a pool, its discovery and the changes.
func (a *App) merged(p *config.Pool) changes.Merged {
	of := changes.Pool{Name: p.Name, File: listedBackends(p)}
	if p.Discovers() {
		of.Found = func(names, addresses map[string]bool) (found []pool.BackendSpec) {
			for _, m := range a.discovery.Members(p.Name) {
				if !m.In(names, addresses) {
					found = append(found, pool.BackendSpec{Name: m.Name, Address: m.Address, Weight: m.Weight, MaxSessions: m.MaxSessions,
						Host: m.Host, HealthPort: m.HealthPort, Backup: m.Backup, Listed: listed[m.State], KillAt: m.Deadline})
				}
			}
			return found
		}
	}
	return a.overrides.get().Merge(of)
}

// operate gives the backends of c, which are in pools now, the administrative states that
// operators have set, and takes those back that they have not.
func (a *App) operate(c *config.Config, pools map[string]*pool.Pool) {
	set := a.overrides.get()
	for i := range c.Pools {
		p := &c.Pools[i]
		for _, m := range pools[p.Name].Members {
			a.operateOne(p, m.Backend, set.Of(p.Name, m.Backend.Name).Admin)
		}
	}
}

func (a *App) operateOne(p *config.Pool, b *pool.Backend, want *changes.Admin) {
	switch {
	case want != nil && (!b.Operated() || b.Admin() != want.State.Pool()):
		a.drainer.Empty(b, want.State.Pool(), -1, fmt.Sprintf("asked for at %s", want.Since.UTC().Format("2006-01-02 15:04:05 UTC")))
	case want == nil && b.Operated():
		a.ready(p, b)
	}
}

// ready ends a drain or a maintenance, after which checks must pass first.
func (a *App) ready(p *config.Pool, b *pool.Backend) {
	if b.InMaintenance() && p.Health.Active() {
		b.SetOperational(pool.Warming, "its maintenance is over; its checks must pass first")
	}
	a.drainer.Undrain(b, "asked for")
}

// agentMayHaveSaid forgets the state that an operator has set if the backend's agent has
// set another one since. It is called after each change of a backend's state, and doesn't
// block.
func (a *App) agentMayHaveSaid(b *pool.Backend) {
	if b.Operated() || b.Removed() || a.overrides.get().Of(b.Pool, b.Name).Admin == nil {
		return
	}
	a.downs.soon(func() {
		a.reload.Lock() // what a reload or an operator has begun is done then
		defer a.reload.Unlock()
		set := a.overrides.get()
		if a.stopped || b.Operated() || b.Removed() || set.Of(b.Pool, b.Name).Admin == nil {
			return
		}
		a.overrides.put(set.With(b.Pool, b.Name, func(c *changes.Backend) { c.Admin = nil }))
		a.saveState()
	})
}

// dropUnlisted forgets the changes of backends that have left the list of a program: it
// has others instead, with names of their own. before are those that were there.
func (a *App) dropUnlisted(p *config.Pool, before []pool.Member) {
	set := a.overrides.get()
	if p.Feed == "" || len(set[p.Name]) == 0 {
		return
	}
	m := a.merged(p)
	changed := false
	for _, b := range before {
		name := b.Backend.Name
		if !slices.ContainsFunc(m.Backends, func(s pool.BackendSpec) bool { return s.Name == name }) && set.Of(p.Name, name) != (changes.Backend{}) {
			set, changed = set.Without(p.Name, name), true
		}
	}
	if changed {
		a.overrides.put(set)
		a.saveState()
	}
}
