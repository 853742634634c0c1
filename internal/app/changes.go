package app

import "github.com/holdfast-ws/holdfast/internal/ops/api"

func (o operated) AddBackend(pool string, b api.NewBackend) (api.BackendResult, error) {
	return api.BackendResult{}, notYet()
}

func (o operated) RemoveBackend(pool, backend, timeout string) (api.BackendResult, error) {
	return api.BackendResult{}, notYet()
}

func (o operated) PatchBackend(pool, backend string, p api.BackendPatch) (api.BackendResult, error) {
	return api.BackendResult{}, notYet()
}

func (o operated) Changes() []api.Change { return nil }

func (o operated) Revert(pool, backend string) ([]api.Change, error) { return nil, notYet() }
