// Package timing notes when a handshake passes its stages, for traces. All methods do
// nothing if the receiver is nil: that is a handshake that isn't traced, and it costs
// nothing.
package timing

import (
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// Stage is a part of a handshake that takes time.
type Stage uint8

const (
	TLS       Stage = iota // with the client
	Request                // until the request's head is read
	Route                  // choosing the route
	Auth                   // verifying a token, or asking an endpoint
	Queue                  // in the queue of a pool with admit
	Dial                   // connecting to a backend, with TLS if it has that
	Handshake              // the backend's answer
)

// Step is a stage that was passed, or failed.
type Step struct {
	Stage        Stage
	Began, Ended time.Time
	Backend      string // of Dial and Handshake, as the following
	Address      string
	Err          error // nil if it succeeded
}

// Trace is one handshake with a client, or one search for another backend of a session.
type Trace struct {
	Began, Ended time.Time
	Steps        []Step // in the order in which they began

	// The following is set at the end of a handshake with a client.
	ID                    session.ID // zero if no backend was asked
	Client                netip.AddrPort
	Listener              string
	Route                 uint32 // as in session.Info; 0 if none matched
	Pool, Backend, Result string
	Failed                bool // for a reason that isn't the client's
	Err                   error
	Context               requestid.Context // zero without forwarded.trace_context
	TrustsPeer            bool              // Context was sent by a trusted proxy
}

// New makes a Trace that begins now.
func New() *Trace { return &Trace{Began: time.Now(), Steps: make([]Step, 0, 8)} }

// Begin begins a stage.
func (t *Trace) Begin(s Stage) {
	if t != nil {
		t.Steps = append(t.Steps, Step{Stage: s, Began: time.Now()})
	}
}

// BeginWith begins a stage with a backend.
func (t *Trace) BeginWith(s Stage, backend, address string) {
	if t != nil {
		t.Steps = append(t.Steps, Step{Stage: s, Began: time.Now(), Backend: backend, Address: address})
	}
}

// End ends the stage that began last.
func (t *Trace) End(err error) {
	if t != nil {
		last := &t.Steps[len(t.Steps)-1]
		last.Ended, last.Err = time.Now(), err
	}
}

// Waited notes a stage that began earlier and ends now.
func (t *Trace) Waited(s Stage, since time.Time) {
	if t != nil {
		t.Steps = append(t.Steps, Step{Stage: s, Began: since, Ended: time.Now()})
	}
}

// Finish ends the trace and a stage that was broken off.
func (t *Trace) Finish() {
	t.Ended = time.Now()
	for i := range t.Steps {
		if t.Steps[i].Ended.IsZero() {
			t.Steps[i].Ended = t.Ended
		}
	}
}
