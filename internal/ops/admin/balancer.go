package admin

import (
	"context"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Balancer is what a Server shows and changes. All methods must be safe for concurrent
// use. Clients are shown the text of their errors; an *api.Problem has its status, too.
type Balancer interface {
	Status() api.Status
	Routes() []api.Route

	// Sessions lists a page of the sessions that match. It must not keep an event loop
	// from its work for longer than 2 ms at a time.
	Sessions(context.Context, api.SessionQuery) (api.SessionPage, error)
	Session(id string) (api.Session, error)
	CloseSessions(context.Context, api.CloseRequest) (api.CloseResult, error)

	AddBackend(pool string, b api.NewBackend) (api.BackendResult, error)
	// RemoveBackend removes a backend as a reload would that no longer has it: it is
	// drained. timeout is as in BackendPatch.
	RemoveBackend(pool, backend, timeout string) (api.BackendResult, error)
	PatchBackend(pool, backend string, p api.BackendPatch) (api.BackendResult, error)
	// Changes lists what differs from the configuration. Revert undoes what was changed of a
	// backend, as if the configuration were loaded for the first time; with "" of all
	// backends of a pool, and with two of all.
	Changes() []api.Change
	Revert(pool, backend string) ([]api.Change, error)

	// Reload loads the configuration again. If it is refused, nothing has changed, and the
	// problem has its errors.
	Reload(context.Context) (api.ReloadResult, error)
	Log() api.Log
	SetLog(level string) (api.Log, error)
	// Events calls f with each event after that ID, first with those that happened
	// already and are still known, until ctx is done or f returns an error, which it
	// returns. If there are some that are no longer known, the first is EventMissed.
	// Without follow it returns nil after those that are known; with it, it does so when
	// the balancer ends.
	Events(ctx context.Context, after uint64, follow bool, f func(api.Event) error) error
	// LastEvent is the ID of the newest event, 0 if there was none.
	LastEvent() uint64
}
