package api

import (
	"fmt"
	"strings"
	"time"
)

// Session is one live session.
type Session struct {
	ID      string    `json:"id"`
	Client  string    `json:"client"`
	Route   string    `json:"route"`
	Pool    string    `json:"pool"`
	Backend string    `json:"backend"`
	Opened  time.Time `json:"opened"`
	Age     float64   `json:"age_seconds"`
	// Idle is the time since a side sent a message, at layer 4 any byte.
	Idle        float64 `json:"idle_seconds"`
	FromClient  Traffic `json:"from_client"`
	FromBackend Traffic `json:"from_backend"`
	// Claims are those of session_claims that the client's token has.
	Claims map[string]string `json:"claims,omitempty"`
}

// SessionFilter chooses sessions: those that match all fields that are set. The names are
// the parameters of GET /v1/sessions.
type SessionFilter struct {
	ID      string `json:"id,omitempty"`
	Pool    string `json:"pool,omitempty"`
	Backend string `json:"backend,omitempty"` // a name; needs Pool
	Route   string `json:"route,omitempty"`   // as Session.Route has it
	Client  string `json:"client,omitempty"`  // an address, a network as CIDR, or address:port
	Claim   string `json:"claim,omitempty"`   // NAME=VALUE, see ParseClaim
	// MinAge, MaxAge and MinIdle are durations such as "90s" or "2h".
	MinAge  string `json:"min_age,omitempty"`
	MaxAge  string `json:"max_age,omitempty"`
	MinIdle string `json:"min_idle,omitempty"`
	// Search finds a text in the id, the address, the route, the pool, the backend or the
	// value of a claim. Upper and lower case are the same.
	Search string `json:"search,omitempty"`
}

// SessionQuery asks for a page of sessions.
type SessionQuery struct {
	SessionFilter
	After string // Next of the page before, "" for the first one
	Limit int    // from 1 to MaxSessions
}

// SessionPage is the response to GET /v1/sessions.
type SessionPage struct {
	Sessions []Session `json:"sessions"`
	// Next is the value of ?after= for the next page, "" on the last one. A page may have
	// fewer sessions than the limit, even none, and a next one.
	Next string `json:"next,omitempty"`
}

// Limits of GET /v1/sessions.
const (
	DefaultSessions = 100
	MaxSessions     = 10_000
)

// CloseRequest is the body of POST /v1/sessions/close.
type CloseRequest struct {
	SessionFilter
	// All must be set if no field of the filter is.
	All bool `json:"all,omitempty"`
	// Code and Reason of the Close frame; 0 is DefaultCloseCode.
	Code   int    `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Rate is how many are closed a second; 0 closes all at once.
	Rate float64 `json:"rate,omitempty"`
	// DryRun only counts.
	DryRun bool `json:"dry_run,omitempty"`
}

// CloseResult is the response.
type CloseResult struct {
	Sessions int     `json:"sessions"`     // that match, and are being closed
	Over     float64 `json:"over_seconds"` // until the last one is told to close
}

// DefaultCloseCode is the code of Close frames if none is given: policy violation (RFC
// 6455 section 7.4.1).
const DefaultCloseCode = 1008

// Claim is a claim of clients' tokens, and its value.
type Claim struct{ Name, Value string }

// ParseClaim reads NAME=VALUE, such as sub=alice.
func ParseClaim(s string) (c Claim, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return c, fmt.Errorf("claim %q is not NAME=VALUE, such as sub=alice", s)
	}
	return Claim{name, value}, nil
}

func (c Claim) String() string { return c.Name + "=" + c.Value }
