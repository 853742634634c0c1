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
	Name        string `json:"name"`
	Balance     string `json:"balance"`
	Sessions    int    `json:"sessions"`
	MaxSessions int    `json:"max_sessions,omitempty"`
	// Queued is how many handshakes wait for the pool's backends now.
	Queued int `json:"queued,omitempty"`
	// Rebalance is there where the pool is rebalanced when need be.
	Rebalance *Rebalance `json:"rebalance,omitempty"`
	// Discovery is where its backends are looked for, beside the file.
	Discovery []Discovery `json:"discovery,omitempty"`
	Backends  []Backend   `json:"backends"`
}

// Rebalance is how even the sessions of a pool are.
type Rebalance struct {
	// Active tells that sessions are being given away, Since since when.
	Active bool       `json:"active"`
	Since  *time.Time `json:"since,omitempty"`
	// Excess is how many sessions are above their backends' fair shares.
	Excess int `json:"excess"`
	// Given is how many were given away since it was last even.
	Given int `json:"given"`
}

// Discovery is how the search for a pool's backends goes.
type Discovery struct {
	Source string `json:"source"`
	// Since is when it last found them.
	Since *time.Time `json:"since,omitempty"`
	// Trouble says why the last look failed; what was found before is in use.
	Trouble string `json:"trouble,omitempty"`
}

// Backend is one server of a Pool.
type Backend struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// State is what counts most of the following two and of what its traffic
	// and its name's addresses say: up, warming, draining, down, ejected,
	// unresolved, drain, maint or removed.
	State       string     `json:"state"`
	Operational string     `json:"operational"`
	Admin       string     `json:"admin"`
	Reason      string     `json:"reason,omitempty"` // of the state
	Since       *time.Time `json:"since,omitempty"`  // it is in this state
	Weight      int        `json:"weight"`
	Share       float64    `json:"share"`    // of the weight, now
	Sessions    int        `json:"sessions"` // live
	MaxSessions int        `json:"max_sessions,omitempty"`
	// Drain is there while the backend is being emptied, and while it is
	// empty and to stay so.
	Drain *Drain `json:"drain,omitempty"`
}

// Drain is how the emptying of a backend goes; what is left is its sessions.
type Drain struct {
	Since time.Time `json:"since"`
	// Deadline is when the last session will have been told to go.
	Deadline time.Time `json:"deadline"`
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
