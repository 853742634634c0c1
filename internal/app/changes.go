package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/upstream/changes"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// maxChanged bounds the backends with changes, and with them the state file.
const maxChanged = 10_000

// changing is one change of a backend, under App.reload.
type changing struct {
	operated
	pool *config.Pool
	now  changes.Merged
}

// begin locks out other changes and reloads. The caller calls done, unless there is an
// error.
func (o operated) begin(in string) (_ *changing, done func(), err error) {
	o.spare.enter()
	o.reload.Lock()
	done = func() { o.reload.Unlock(); o.spare.leave() }
	if o.stopped {
		done()
		return nil, nil, errStopping
	}
	p, err := o.poolNamed(in)
	if err != nil {
		done()
		return nil, nil, err
	}
	return &changing{o, p, o.merged(p)}, done, nil
}

func (o operated) poolNamed(in string) (*config.Pool, error) {
	c := o.current.Load()
	names := make([]string, len(c.Pools))
	for i := range c.Pools {
		if names[i] = c.Pools[i].Name; names[i] == in {
			return &c.Pools[i], nil
		}
	}
	return nil, api.NotFound("pool", "there is no pool %s%s", hint.Quote(in), hint.DidYouMean(in, names))
}

// spec returns a backend of the pool.
func (c *changing) spec(name string) (pool.BackendSpec, error) {
	names := make([]string, len(c.now.Backends))
	for i, b := range c.now.Backends {
		if names[i] = b.Name; b.Name == name {
			return b, nil
		}
	}
	return pool.BackendSpec{}, api.NotFound("backend", "the pool %s has no backend %s%s", hint.Quote(c.pool.Name), hint.Quote(name), hint.DidYouMean(name, names))
}

// find returns what serves as a backend of the pool now.
func (c *changing) find(name string) (*pool.Backend, error) {
	for _, m := range c.proxy.Generation().Pools[c.pool.Name].Picker.Members() {
		if m.Backend.Name == name {
			return m.Backend, nil
		}
	}
	return nil, api.Conflict("backend", "the backend %s has just come or gone: try again", hint.Quote(name))
}

// use replaces the changes; with rebuild also the generation. On an error, nothing has
// changed.
func (o operated) use(next changes.Set, rebuild bool) (warnings []string, err error) {
	before := o.overrides.get()
	if next.Len() > max(maxChanged, before.Len()) {
		return nil, api.Conflict("", "%d backends are changed already: put some of the changes into the configuration", before.Len())
	}
	o.overrides.put(next)
	if rebuild {
		g, _, err := o.build(o.current.Load(), o.backendTLS, o.auth, o.proxy.Generation().Number+1)
		if err != nil {
			o.overrides.put(before)
			return nil, api.Conflict("", "%v", err)
		}
		o.proxy.Swap(g)
		o.metrics.Refresh()
	}
	if w := o.saveState(); w != "" {
		warnings = append(warnings, w)
	}
	return warnings, nil
}

// result is the response to a change of a backend.
func (c *changing) result(name, address string, warnings []string) api.BackendResult {
	// One without sessions may be gone by now.
	r := api.BackendResult{Warnings: warnings, Backend: api.Backend{Name: name, Address: address, State: "removed",
		Operational: pool.Up.String(), Admin: pool.Drain.String()}}
	v := c.newView(c.current.Load(), &api.Totals{})
	for _, b := range v.backends {
		if b.Pool == c.pool.Name && b.Name == name && b.Address == address {
			r.Backend = v.backend(b)
		}
	}
	return r
}

// nobodyLeft warns if the pool has no backend for new sessions any more.
func (c *changing) nobodyLeft(what string) (warnings []string) {
	if c.serves(c.pool.Name) {
		return nil
	}
	text := fmt.Sprintf("no backend of the pool %s takes new sessions now: new clients are refused with 503 until one does, or until %s", c.pool.Name, what)
	c.noted(api.EventDrain).Warn(text, "pool", c.pool.Name)
	return []string{text}
}

func (c *changing) note(name, what string, more ...any) {
	c.noted(api.EventChange).Info("a backend is changed by an operator: "+what, append([]any{"pool", c.pool.Name, "backend", name}, more...)...)
}

// checked reports what is wrong with a backend by the rules of the configuration.
func checked(p *config.Pool, b *config.Backend, address string) error {
	err := config.CheckBackend(p, b, address)
	var bad config.Errors
	if errors.As(err, &bad) {
		return api.Invalid(string(bad[0].Path), "%s", bad[0].Msg)
	}
	return err
}

func checkWeight(weight *int) error {
	if weight != nil && *weight == 0 {
		return api.Invalid("weight", "weight 0 is not allowed: to send a backend no new sessions, drain it")
	}
	return nil
}

// AddBackend implements admin.Balancer.
func (o operated) AddBackend(in string, n api.NewBackend) (api.BackendResult, error) {
	c, done, err := o.begin(in)
	if err != nil {
		return api.BackendResult{}, err
	}
	defer done()
	if c.pool.Feed != "" {
		return api.BackendResult{}, c.notOurs()
	}
	b := config.Backend{Name: n.Name, Weight: 1, MaxSessions: n.MaxSessions, HealthPort: n.HealthPort, Backup: n.Backup}
	if n.Weight != nil {
		b.Weight = *n.Weight
	}
	if err := errors.Join(checkWeight(n.Weight), checked(c.pool, &b, n.Address)); err != nil {
		return api.BackendResult{}, firstProblem(err)
	}
	address := b.Address.String()
	for _, other := range c.now.Backends {
		switch {
		case other.Name == b.Name:
			return api.BackendResult{}, api.Conflict("name", "the pool %s has a backend %s already, at %s: choose another name, or remove that one first", hint.Quote(in), hint.Quote(b.Name), other.Address)
		case other.Address == address:
			return api.BackendResult{}, api.Conflict("address", "the backend %s of the pool has the address %s already", hint.Quote(other.Name), address)
		}
	}
	now := time.Now().UTC()
	next := o.overrides.get().With(in, b.Name, func(e *changes.Backend) {
		e.Added = &changes.Added{Address: address, Weight: b.Weight, MaxSessions: b.MaxSessions, HealthPort: b.HealthPort, Backup: b.Backup, Since: now}
		e.Weight, e.MaxSessions, e.Admin = nil, nil, nil
	}).Settle(in, listedBackends(c.pool), c.pool.Discovers()) // it may be one that was removed
	warnings, err := o.use(next, true)
	if err != nil {
		return api.BackendResult{}, err
	}
	c.note(b.Name, "it is added", "address", address, "weight", b.Weight)
	return c.result(b.Name, address, warnings), nil
}

// firstProblem returns the first of several.
func firstProblem(err error) error {
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return p
	}
	return err
}

// notOurs is the answer for pools whose list is a program's.
func (c *changing) notOurs() error {
	return api.Conflict("pool", "the backends of the pool %s are listed by a program, such as the Ingress controller: add and remove them there", hint.Quote(c.pool.Name))
}

// RemoveBackend implements admin.Balancer.
func (o operated) RemoveBackend(in, name, timeout string) (api.BackendResult, error) {
	within, err := drainTimeout(timeout)
	if err != nil {
		return api.BackendResult{}, err
	}
	c, done, err := o.begin(in)
	if err != nil {
		return api.BackendResult{}, err
	}
	defer done()
	spec, err := c.spec(name)
	switch {
	case err != nil:
		return api.BackendResult{}, err
	case c.pool.Feed != "":
		return api.BackendResult{}, c.notOurs()
	case len(c.now.Backends) == 1:
		return api.BackendResult{}, api.Conflict("backend", "%s is the only backend of the pool %s: add another one first, or drain it", hint.Quote(name), hint.Quote(in))
	}
	now := time.Now().UTC()
	next := o.overrides.get().With(in, name, func(e *changes.Backend) {
		switch {
		case c.now.Added[name]:
			*e = changes.Backend{Removed: e.Removed}
		default:
			*e = changes.Backend{Removed: &changes.Removed{Since: now}}
		}
	})
	b, err := c.find(name)
	if err != nil {
		return api.BackendResult{}, err
	}
	if timeout != "" {
		o.drainer.Restart(b, within)
	}
	warnings, err := o.use(next, true)
	if err != nil {
		o.drainer.Reconcile(b)
		return api.BackendResult{}, err
	}
	b.Operate(pool.Ready, "it is removed") // what was asked for before is over
	c.note(name, "it is removed", "address", spec.Address, "sessions", b.Sessions())
	return c.result(name, spec.Address, append(warnings, c.nobodyLeft(fmt.Sprintf("holdfast changes revert %s/%s", in, name))...)), nil
}

func drainTimeout(text string) (time.Duration, error) {
	if text == "" {
		return -1, nil
	}
	d, err := config.ParseDuration(text)
	if err != nil {
		return 0, api.Invalid("timeout", "timeout: %v", err)
	}
	return d, nil
}

// PatchBackend implements admin.Balancer.
func (o operated) PatchBackend(in, name string, patch api.BackendPatch) (api.BackendResult, error) {
	within, err := drainTimeout(patch.Timeout)
	if err != nil {
		return api.BackendResult{}, err
	}
	c, done, err := o.begin(in)
	if err != nil {
		return api.BackendResult{}, err
	}
	defer done()
	spec, err := c.spec(name)
	if err != nil {
		return api.BackendResult{}, err
	}
	b, err := c.find(name)
	if err != nil {
		return api.BackendResult{}, err
	}
	if err := c.checkPatch(&patch); err != nil {
		return api.BackendResult{}, err
	}
	before, next := o.overrides.get(), c.patched(name, &patch)
	rebuild := patch.Weight != nil && *patch.Weight != spec.Weight || patch.MaxSessions != nil && *patch.MaxSessions != spec.MaxSessions ||
		b.InMaintenance() != (patch.Admin == "maint") && patch.Admin != ""
	o.overrides.put(next) // before the agent's part of a state could be taken for another change
	switch patch.Admin {
	case "drain", "maint":
		o.drainer.Empty(b, changes.State(patch.Admin).Pool(), within, "asked for")
	case "ready":
		o.ready(c.pool, b)
	}
	warnings, err := o.use(next, rebuild)
	if err != nil {
		o.overrides.put(before)
		return api.BackendResult{}, err
	}
	c.notePatch(name, &patch)
	if patch.Admin == "drain" || patch.Admin == "maint" {
		warnings = append(warnings, c.nobodyLeft(fmt.Sprintf("holdfast undrain %s/%s", in, name))...)
	}
	return c.result(name, spec.Address, warnings), nil
}

func (c *changing) checkPatch(patch *api.BackendPatch) error {
	b := config.Backend{Weight: 1}
	if patch.Weight != nil {
		b.Weight = *patch.Weight
	}
	if patch.MaxSessions != nil {
		b.MaxSessions = *patch.MaxSessions
	}
	if err := errors.Join(checkWeight(patch.Weight), checked(&config.Pool{}, &b, "127.0.0.1:1")); err != nil {
		return firstProblem(err)
	}
	if patch.Admin != "" && !slices.Contains([]string{"ready", "drain", "maint"}, patch.Admin) {
		return api.Invalid("admin", "expected ready, drain or maint, got %s", hint.Quote(patch.Admin))
	}
	return nil
}

// patched returns the changes after a patch. What is as the configuration has it is none.
func (c *changing) patched(name string, patch *api.BackendPatch) changes.Set {
	now := time.Now().UTC()
	base := c.now.Base[name]
	return c.overrides.get().With(c.pool.Name, name, func(e *changes.Backend) {
		if c.now.Added[name] {
			added := *e.Added
			if patch.Weight != nil {
				added.Weight = *patch.Weight
			}
			if patch.MaxSessions != nil {
				added.MaxSessions = *patch.MaxSessions
			}
			e.Added = &added
		} else {
			e.Weight = patchedNumber(e.Weight, patch.Weight, base.Weight, now)
			e.MaxSessions = patchedNumber(e.MaxSessions, patch.MaxSessions, base.MaxSessions, now)
		}
		switch patch.Admin {
		case "ready":
			e.Admin = nil
		case "drain", "maint":
			if state := changes.State(patch.Admin); e.Admin == nil || e.Admin.State != state {
				e.Admin = &changes.Admin{State: state, Since: now}
			}
		}
	})
}

func patchedNumber(before *changes.Number, to *int, base int, now time.Time) *changes.Number {
	switch {
	case to == nil || before != nil && before.Now == *to:
		return before
	case *to == base:
		return nil
	}
	return &changes.Number{Now: *to, Since: now}
}

func (c *changing) notePatch(name string, patch *api.BackendPatch) {
	var what []string
	if patch.Weight != nil {
		what = append(what, fmt.Sprint("weight ", *patch.Weight))
	}
	if patch.MaxSessions != nil {
		what = append(what, fmt.Sprint("max_sessions ", *patch.MaxSessions))
	}
	if patch.Admin != "" {
		what = append(what, patch.Admin)
	}
	if len(what) > 0 {
		c.note(name, strings.Join(what, ", "))
	}
}
