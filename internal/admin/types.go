package admin

import "time"

// Status is the answer to GET /status.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Draining tells that the balancer is shutting down.
	Draining bool `json:"draining"`
	// Generation counts the configurations taken since the start, from 1.
	Generation uint64 `json:"generation"`
	// ConfigFile is "" when there is none.
	ConfigFile string     `json:"config_file"`
	Listeners  []Listener `json:"listeners"`
	Pools      []Pool     `json:"pools"`
	Totals     Totals     `json:"totals"`
}

// Listener is an address clients come to.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"` // as it is bound
}

// Pool is a set of backends.
type Pool struct {
	Name     string    `json:"name"`
	Balance  string    `json:"balance"`
	Backends []Backend `json:"backends"`
}

// Backend is one server of a Pool.
type Backend struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	State    string `json:"state"` // pool's word for it: up, down, ...
	Weight   int    `json:"weight"`
	Sessions int    `json:"sessions"` // live
}

// Totals are counted since the start, but for Active.
type Totals struct {
	Active      int     `json:"active"` // sessions now
	Opened      uint64  `json:"opened"`
	FromClient  Traffic `json:"from_client"`
	FromBackend Traffic `json:"from_backend"`
}

// Traffic is what one side has sent.
type Traffic struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"` // frame headers included
}

// Session is one live session.
type Session struct {
	ID          string  `json:"id"`
	Client      string  `json:"client"`
	Route       string  `json:"route"`
	Pool        string  `json:"pool"`
	Backend     string  `json:"backend"`
	Age         float64 `json:"age_seconds"`
	FromClient  Traffic `json:"from_client"`
	FromBackend Traffic `json:"from_backend"`
}

// sessionsAnswer is the answer to GET /sessions.
type sessionsAnswer struct {
	Sessions []Session `json:"sessions"`
}
