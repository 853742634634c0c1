package pool

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// State is a snapshot of a backend for operators.
type State struct {
	// Name is the most important of the following: removed, terminating, maint, drain,
	// unresolved, unready, draining, down, warming, ejected or up.
	Name        string
	Operational Operational
	Admin       Admin
	Listed      Listed
	Sessions    int
	Requests    int     // plain HTTP requests now; not among Sessions
	MaxSessions int     // 0 means unlimited
	Share       float64 // of its weight, from 0 to 1; see Backend.Share
	Changes     uint64  // of state, since it was first configured
	Addresses   []hostport.Endpoint
	// Reason is why it is in this state, and Since since when; both are zero
	// if nothing ever changed. A backend that is up after a drain has no
	// Reason. If the name of one that is up no longer resolves, Reason says
	// so; the last addresses stay in use.
	Reason string
	Since  time.Time
}

// StateNames lists the values of State.Name.
func StateNames() []string {
	return []string{"up", "warming", "draining", "down", "ejected", "unready", "unresolved", "drain", "maint", "terminating", "removed"}
}

// State returns the current state.
func (b *Backend) State() State {
	s := State{
		Operational: b.Operational(), Admin: b.Admin(), Listed: b.Listed(),
		Requests: b.Requests(), MaxSessions: int(b.max.Load()),
		Share: float64(b.Share()) / FullShare, Changes: b.changeCount.Load(),
		Name: b.stateName(),
	}
	s.Sessions = max(b.Sessions()-s.Requests, 0)
	b.mu.Lock()
	w := b.reasonFor(s.Name)
	b.mu.Unlock()
	s.Reason, s.Since = w.reason, w.since
	s.Addresses = b.addresses.Load().addrs()
	if t := b.lastError.Load(); t != nil && (s.Name == "up" || s.Name == "unresolved") {
		s.Reason, s.Since = t.reason, t.since
	}
	return s
}

// reasonFor returns why the backend is in the state of that name. mu must be held.
func (b *Backend) reasonFor(word string) change {
	switch word {
	case "removed":
		return change{"it has left the configuration or discovery", b.removedAt}
	case "drain", "maint":
		return b.lastChange[byAdmin]
	case "ejected":
		return b.lastChange[byTraffic]
	case "unready", "terminating":
		return b.lastChange[byList]
	case "up":
		latest := b.lastChange[byChecks]
		if t := b.lastChange[byTraffic]; t.since.After(latest.since) {
			latest = t
		}
		if l := b.lastChange[byList]; l.since.After(latest.since) {
			latest = l
		}
		if w := b.lastChange[byAdmin]; w.since.After(latest.since) {
			return change{since: w.since} // why it was drained no longer matters
		}
		return latest
	}
	return b.lastChange[byChecks]
}

func (b *Backend) stateName() string {
	switch {
	case b.removed.Load():
		return "removed"
	case b.Listed() == ListedTerminating:
		return "terminating"
	case b.Admin() != Ready:
		return b.Admin().String()
	case b.addresses.Load() == nil:
		return "unresolved"
	case b.Listed() == ListedUnready:
		return "unready"
	case b.Operational() != Up:
		return b.Operational().String()
	case b.ejected():
		return "ejected"
	}
	return "up"
}
