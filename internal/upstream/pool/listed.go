package pool

import (
	"fmt"
	"log/slog"
	"time"
)

// Listed is a backend's state as the list that it is from has it. It applies whatever
// the checks and operators say.
type Listed uint8

const (
	// ListedReady leaves the decision to the others.
	ListedReady Listed = iota
	// ListedUnready takes no new sessions. Those that it has go on.
	ListedUnready
	// ListedTerminating takes no new sessions, is being emptied, and may be killed at
	// KillAt.
	ListedTerminating
)

// ListedStates lists the values of State.Name that come from lists.
func ListedStates() []string { return []string{ListedUnready.String(), ListedTerminating.String()} }

func (l Listed) String() string { return [...]string{"ready", "unready", "terminating"}[l] }

// reason says why a backend is in the state.
func (l Listed) reason(killAt time.Time) string {
	switch {
	case l == ListedUnready:
		return "its list says that it is not ready"
	case l == ListedReady:
		return "its list says that it is ready"
	case killAt.IsZero():
		return "it terminates"
	}
	return fmt.Sprintf("it terminates, and will be killed at %s", killAt.UTC().Format(time.RFC3339))
}

// Listed is the state that the backend's list had last. A backend that was removed keeps
// it.
func (b *Backend) Listed() Listed { return Listed(b.listed.Load()) }

// KillAt is when a backend that is ListedTerminating will be killed; zero if that isn't
// known, and for others.
func (b *Backend) KillAt() time.Time {
	if at := b.killAt.Load(); at != 0 && b.Listed() == ListedTerminating {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// Gone reports whether the backend was terminating when it left its list, while others
// stayed there: it doesn't exist any more.
func (b *Backend) Gone() bool { return b.gone.Load() }

// setListed sets what the backend's list says now. fresh says that the backend was not
// known before.
//
// A backend that turns ready starts slowly, if its pool has a slow start.
func (b *Backend) setListed(l Listed, killAt time.Time, fresh bool) {
	at := int64(0)
	if l == ListedTerminating && !killAt.IsZero() {
		at = killAt.UnixNano()
	}
	if b.Listed() == l && b.killAt.Load() == at {
		return // the usual case
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.Listed()
	b.killAt.Store(at)
	b.listed.Store(uint32(l))
	reason := l.reason(killAt)
	switch {
	case fresh: // nothing has changed that anybody knew of
		b.lastChange[byList] = change{reason, b.registry.clock.Now()}
		b.registry.onChange(b)
	case before == l:
		b.lastChange[byList].reason = reason
		b.registry.log.Info(fmt.Sprintf("backend %s: %s", b.Name, reason), "pool", b.Pool, "backend", b.Name, "state", l.String())
		b.registry.onChange(b)
	default:
		if l == ListedReady {
			b.markUp(b.registry.clock.Now())
		}
		b.logChange(byList, slog.LevelInfo, l.String(), before.String(), reason)
	}
}
