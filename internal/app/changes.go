package app

import "github.com/holdfast-ws/holdfast/internal/ops/api"

func (o operated) AddBackend(pool string, b api.NewBackend) (api.BackendResult, error) {
	return api.BackendResult{}, notYet()
}

func (o operated) RemoveBackend(pool, backend, timeout string) (api.BackendResult, error) {
	return api.BackendResult{}, notYet()
}

func (o operated) PatchBackend(pool, backend string, p api.BackendPatch) (r api.BackendResult, err error) {
	warning := ""
	switch p.Admin {
	case "drain":
		warning, err = o.drain(pool, backend, p.Timeout)
	case "ready":
		err = o.undrain(pool, backend)
	default:
		err = notYet()
	}
	if err != nil {
		return r, err
	}
	if warning != "" {
		r.Warnings = []string{warning}
	}
	for _, p := range o.Status().Pools {
		for _, b := range p.Backends {
			if p.Name == pool && b.Name == backend && b.State != "removed" {
				r.Backend = b
			}
		}
	}
	return r, nil
}

func (o operated) Changes() []api.Change { return nil }

func (o operated) Revert(pool, backend string) ([]api.Change, error) { return nil, notYet() }

func notYet() error { return api.Conflict("", "not implemented yet") }
