package client

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Status returns the balancer's status.
func (c *Client) Status(ctx context.Context) (s api.Status, err error) {
	return s, c.call(ctx, "GET", "/v1/status", nil, nil, &s)
}

// Listeners lists the addresses that clients connect to.
func (c *Client) Listeners(ctx context.Context) (l []api.Listener, err error) {
	return l, c.call(ctx, "GET", "/v1/listeners", nil, nil, &l)
}

// Certificates lists the certificates of listeners.
func (c *Client) Certificates(ctx context.Context) (l []api.Certificate, err error) {
	return l, c.call(ctx, "GET", "/v1/certificates", nil, nil, &l)
}

// Routes lists the routes in the order in which they match.
func (c *Client) Routes(ctx context.Context) (l []api.Route, err error) {
	return l, c.call(ctx, "GET", "/v1/routes", nil, nil, &l)
}

// Pools lists the pools with their backends.
func (c *Client) Pools(ctx context.Context) (l []api.Pool, err error) {
	return l, c.call(ctx, "GET", "/v1/pools", nil, nil, &l)
}

// Pool returns one of them.
func (c *Client) Pool(ctx context.Context, pool string) (p api.Pool, err error) {
	return p, c.call(ctx, "GET", path("pools", pool), nil, nil, &p)
}

// Backends lists the backends of a pool.
func (c *Client) Backends(ctx context.Context, pool string) (l []api.Backend, err error) {
	return l, c.call(ctx, "GET", path("pools", pool, "backends"), nil, nil, &l)
}

// Backend returns one of them.
func (c *Client) Backend(ctx context.Context, pool, backend string) (b api.Backend, err error) {
	return b, c.call(ctx, "GET", path("pools", pool, "backends", backend), nil, nil, &b)
}

// AddBackend adds a backend to a pool.
func (c *Client) AddBackend(ctx context.Context, pool string, b api.NewBackend) (r api.BackendResult, err error) {
	return r, c.call(ctx, "POST", path("pools", pool, "backends"), nil, b, &r)
}

// PatchBackend changes a backend.
func (c *Client) PatchBackend(ctx context.Context, pool, backend string, p api.BackendPatch) (r api.BackendResult, err error) {
	return r, c.call(ctx, "PATCH", path("pools", pool, "backends", backend), nil, p, &r)
}

// RemoveBackend removes a backend, which is drained. timeout is a duration such as "90s"; ""
// means drain.timeout of the pool.
func (c *Client) RemoveBackend(ctx context.Context, pool, backend, timeout string) (r api.BackendResult, err error) {
	return r, c.call(ctx, "DELETE", path("pools", pool, "backends", backend), values("timeout", timeout), nil, &r)
}

// Drain begins a drain of a backend and returns at once; timeout is as for RemoveBackend.
func (c *Client) Drain(ctx context.Context, pool, backend, timeout string) (r api.BackendResult, err error) {
	return r, c.call(ctx, "POST", path("pools", pool, "backends", backend, "drain"), nil, api.Timeout{Timeout: timeout}, &r)
}

// Undrain ends a drain: the backend gets new sessions again.
func (c *Client) Undrain(ctx context.Context, pool, backend string) (r api.BackendResult, err error) {
	return r, c.call(ctx, "POST", path("pools", pool, "backends", backend, "undrain"), nil, nil, &r)
}

// Maint puts a backend into maintenance; timeout is as for RemoveBackend.
func (c *Client) Maint(ctx context.Context, pool, backend, timeout string) (r api.BackendResult, err error) {
	return r, c.call(ctx, "POST", path("pools", pool, "backends", backend, "maint"), nil, api.Timeout{Timeout: timeout}, &r)
}

// Ready ends a drain or maintenance.
func (c *Client) Ready(ctx context.Context, pool, backend string) (r api.BackendResult, err error) {
	return r, c.call(ctx, "POST", path("pools", pool, "backends", backend, "ready"), nil, nil, &r)
}

// Changes lists what differs from the configuration.
func (c *Client) Changes(ctx context.Context) (l []api.Change, err error) {
	return l, c.call(ctx, "GET", "/v1/changes", nil, nil, &l)
}

// Revert undoes the changes of a backend, with "" of all backends of a pool, with two of
// all. It returns what was undone.
func (c *Client) Revert(ctx context.Context, pool, backend string) (l []api.Change, err error) {
	parts := []string{"changes"}
	if pool != "" {
		parts = append(parts, pool)
	}
	if backend != "" {
		parts = append(parts, backend)
	}
	return l, c.call(ctx, "DELETE", path(parts...), nil, nil, &l)
}

// Sessions lists a page of the sessions that match. Limit 0 is api.DefaultSessions. Sessions
// that open or end between two pages may be missing.
func (c *Client) Sessions(ctx context.Context, q api.SessionQuery) (p api.SessionPage, err error) {
	v := values("id", q.ID, "pool", q.Pool, "backend", q.Backend, "route", q.Route, "client", q.Client, "claim", q.Claim,
		"min_age", q.MinAge, "max_age", q.MaxAge, "min_idle", q.MinIdle, "search", q.Search, "after", q.After)
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return p, c.call(ctx, "GET", "/v1/sessions", v, nil, &p)
}

// Session returns one session.
func (c *Client) Session(ctx context.Context, id string) (s api.Session, err error) {
	return s, c.call(ctx, "GET", path("sessions", id), nil, nil, &s)
}

// CloseSessions begins to close the sessions that match.
func (c *Client) CloseSessions(ctx context.Context, r api.CloseRequest) (res api.CloseResult, err error) {
	return res, c.call(ctx, "POST", "/v1/sessions/close", nil, r, &res)
}

// Reload makes the balancer read its configuration again. If that has errors, nothing has
// changed, and the error has a line for each.
func (c *Client) Reload(ctx context.Context) (r api.ReloadResult, err error) {
	return r, c.call(ctx, "POST", "/v1/reload", nil, nil, &r)
}

// Log returns the level of the log.
func (c *Client) Log(ctx context.Context) (l api.Log, err error) {
	return l, c.call(ctx, "GET", "/v1/log", nil, nil, &l)
}

// SetLog sets the level of the log.
func (c *Client) SetLog(ctx context.Context, level string) (l api.Log, err error) {
	return l, c.call(ctx, "PUT", "/v1/log", nil, api.Log{Level: level}, &l)
}

// path joins escaped parts. Those of dots only would be taken for relative paths.
func path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, p := range parts {
		b.WriteByte('/')
		if p == "." || p == ".." {
			b.WriteString(strings.ReplaceAll(p, ".", "%2E"))
			continue
		}
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// values makes parameters of pairs whose second isn't "".
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}
