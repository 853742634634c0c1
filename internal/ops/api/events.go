package api

import "time"

// Event is a change of state. GET /v1/events streams them (text/event-stream): the id of
// the stream's event is ID, its name Kind, its data the Event.
type Event struct {
	// ID grows by one with each event since the start of the balancer, from 1.
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`
	// Kind is one of Kinds.
	Kind    string `json:"kind"`
	Level   string `json:"level"` // "info", "warn" or "error"
	Pool    string `json:"pool,omitempty"`
	Backend string `json:"backend,omitempty"`
	// Message is one line for people.
	Message string `json:"message"`
	// Detail has more of some kinds: state and was of a backend, sessions, generation.
	Detail map[string]any `json:"detail,omitempty"`
}

// Kinds of events.
const (
	EventBackend     = "backend"     // a backend's state changed; Detail: state, was, reason
	EventDrain       = "drain"       // a drain began, ended or emptied its backend
	EventBackends    = "backends"    // backends were added to a pool or left it
	EventChange      = "change"      // something was changed through the API
	EventReload      = "reload"      // a reload, also one that was refused
	EventRebalance   = "rebalance"   // a rebalance began or ended
	EventSessions    = "sessions"    // an operator closes sessions
	EventCertificate = "certificate" // a certificate was loaded, renewed or will expire
	EventOverload    = "overload"    // clients are refused for want of room, or no longer
	EventShutdown    = "shutdown"    // the balancer shuts down
	EventMissed      = "missed"      // events that this stream hasn't; Detail: count
)

// Kinds lists them.
var Kinds = []string{EventBackend, EventDrain, EventBackends, EventChange, EventReload, EventRebalance, EventSessions,
	EventCertificate, EventOverload, EventShutdown, EventMissed}
