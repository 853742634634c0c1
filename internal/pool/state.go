package pool

import (
	"net/netip"
	"time"
)

// State is a snapshot of a backend for people to read.
type State struct {
	// Word is what counts most of the following: removed, maint, drain,
	// unresolved, draining, down, warming, ejected or up.
	Word        string
	Operational Operational
	Admin       Admin
	Sessions    int
	MaxSessions int     // 0 is no bound
	Share       float64 // of its weight, now; see Backend.Share
	Changes     uint64  // of state, since it was configured first
	Addresses   []netip.AddrPort
	// Reason says why it is in this state, and Since since when; both are
	// zero where nothing ever changed. A backend that is up may have a name
	// that no longer resolves: then Reason tells, and the last answer is in
	// use. Of one that is both drained and down, the later change is told.
	Reason string
	Since  time.Time
}

// StateWords lists the words of State.
func StateWords() []string {
	return []string{"up", "warming", "draining", "down", "ejected", "unresolved", "drain", "maint", "removed"}
}

// State describes the backend as it is now.
func (b *Backend) State() State {
	s := State{
		Operational: b.Operational(), Admin: b.Admin(),
		Sessions: b.Sessions(), MaxSessions: int(b.max.Load()),
		Share: float64(b.Share()) / FullShare, Changes: b.changes.Load(),
		Word: b.word(),
	}
	b.mu.Lock()
	s.Reason, s.Since = b.reason, b.since
	b.mu.Unlock()
	if a := b.answer.Load(); a != nil {
		s.Addresses = a.addrs()
	}
	if t := b.trouble.Load(); t != nil && (s.Word == "up" || s.Word == "unresolved") {
		s.Reason, s.Since = t.reason, t.since
	}
	return s
}

func (b *Backend) word() string {
	switch {
	case b.removed.Load():
		return "removed"
	case b.Admin() != Ready:
		return b.Admin().String()
	case b.answer.Load() == nil:
		return "unresolved"
	case b.Operational() != Up:
		return b.Operational().String()
	case b.ejected():
		return "ejected"
	}
	return "up"
}
