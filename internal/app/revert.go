package app

import (
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/upstream/changes"
)

// Changes implements admin.Balancer.
func (o operated) Changes() []api.Change {
	list := []api.Change{}
	for _, r := range o.rows() {
		list = append(list, api.Change(r))
	}
	return list
}

// rows lists the changes: of the pools in their order, then those of pools that aren't there.
func (a *App) rows() (rows []changes.Row) {
	set := a.overrides.get()
	if len(set) == 0 {
		return nil
	}
	c := a.current.Load()
	pools := map[string]bool{}
	for i := range c.Pools {
		pools[c.Pools[i].Name] = true
		if len(set[c.Pools[i].Name]) > 0 {
			rows = append(rows, a.merged(&c.Pools[i]).Rows...)
		}
	}
	return append(rows, set.Strays(func(in string) bool { return pools[in] })...)
}

// Revert implements admin.Balancer.
func (o operated) Revert(in, name string) ([]api.Change, error) {
	o.spare.enter()
	defer o.spare.leave()
	o.reload.Lock()
	defer o.reload.Unlock()
	if o.stopped {
		return nil, errStopping
	}
	gone := []api.Change{}
	for _, r := range o.rows() {
		if (in == "" || r.Pool == in) && (name == "" || r.Backend == name) {
			gone = append(gone, api.Change(r))
		}
	}
	if len(gone) == 0 && in != "" {
		if name == "" {
			return nil, api.NotFound("pool", "nothing is changed in the pool %s", hint.Quote(in))
		}
		return nil, api.NotFound("backend", "nothing is changed of the backend %s of the pool %s", hint.Quote(name), hint.Quote(in))
	}
	if len(gone) == 0 {
		return gone, nil
	}
	if _, err := o.use(o.overrides.get().Without(in, name), true); err != nil {
		return nil, err
	}
	o.noted(api.EventChange).Info("changes of backends at run time are reverted by an operator", "pool", in, "backend", name, "changes", len(gone))
	return gone, nil
}
