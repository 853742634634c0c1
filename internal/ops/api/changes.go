package api

import "time"

// NewBackend is the body of POST /v1/pools/{pool}/backends.
type NewBackend struct {
	Name        string `json:"name,omitempty"` // the address if it is missing
	Address     string `json:"address"`
	Weight      *int   `json:"weight,omitempty"` // 1 if it is missing
	MaxSessions int    `json:"max_sessions,omitempty"`
	HealthPort  int    `json:"health_port,omitempty"` // 0 is as the pool has it
	Backup      bool   `json:"backup,omitempty"`
}

// BackendPatch is the body of PATCH /v1/pools/{pool}/backends/{backend}. Fields that are
// missing stay as they are.
type BackendPatch struct {
	Weight      *int `json:"weight,omitempty"`
	MaxSessions *int `json:"max_sessions,omitempty"`
	// Admin is "ready", "drain" or "maint". Maint also ends the sessions, at the pace of a
	// drain, and stops health checks.
	Admin string `json:"admin,omitempty"`
	// Timeout is that of a drain; "" means drain.timeout of the pool. Only with Admin.
	Timeout string `json:"timeout,omitempty"`
}

// Timeout is the body of the short forms of BackendPatch that drain a backend.
type Timeout struct {
	Timeout string `json:"timeout,omitempty"` // as BackendPatch.Timeout
}

// BackendResult is the response to a change of a backend.
type BackendResult struct {
	Backend Backend `json:"backend"`
	// Warnings say what else follows, such as that no backend takes new sessions now.
	Warnings []string `json:"warnings,omitempty"`
}

// Change is a difference between the configuration and what runs, made at run time through
// the API. It survives reloads and restarts. A drain is one too.
type Change struct {
	Pool    string `json:"pool"`
	Backend string `json:"backend"`
	// Field is "added", "removed", "weight", "max_sessions" or "admin".
	Field string `json:"field"`
	// File is the value by the configuration, Now the one in use; "" for none.
	File  string    `json:"file,omitempty"`
	Now   string    `json:"now,omitempty"`
	Since time.Time `json:"since"`
	// Problem says why the change has no effect, such as that the pool left the
	// configuration; "" if it has.
	Problem string `json:"problem,omitempty"`
}

// ReloadResult is the response to POST /v1/reload.
type ReloadResult struct {
	Generation uint64   `json:"generation"`
	Warnings   []string `json:"warnings,omitempty"`
}

// Log is what GET /v1/log answers and PUT /v1/log takes.
type Log struct {
	// Level is "debug", "info", "warn" or "error". It holds until the next reload that
	// changes log.level, or the next start.
	Level string `json:"level"`
	// File is the level of the configuration. PUT ignores it.
	File string `json:"file,omitempty"`
}

// Route is one route, in the order in which they match.
type Route struct {
	// Name is what Session.Route and the log have.
	Name     string   `json:"name"`
	Listener []string `json:"listeners,omitempty"`
	// Pool is "" for a route that answers by itself.
	Pool   string         `json:"pool,omitempty"`
	Split  map[string]int `json:"split,omitempty"`  // weights by pool
	Answer string         `json:"answer,omitempty"` // "redirect 308" or "respond 403"
	// Auth, Origins and Limits name what the route asks of its clients.
	Auth []string `json:"auth,omitempty"`
}
