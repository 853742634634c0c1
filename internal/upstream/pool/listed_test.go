package pool

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// listed is a registry whose only pool is a list.
type listed struct {
	*Registry
	log     *testkit.Log
	changes []string
	spec    Spec
}

func newListed(t *testing.T, spec Spec) *listed {
	l := &listed{log: new(testkit.Log), spec: spec}
	l.spec.Name = "chat"
	l.Registry = New(Options{Logger: l.log.Logger("level", "msg"), OnChange: func(b *Backend) { l.changes = append(l.changes, b.Name) }})
	t.Cleanup(l.Close)
	return l
}

// set applies a list in which the backend has a state, with the backend "other".
func (l *listed) set(state Listed, killAt time.Time) *Backend {
	l.spec.Backends = []BackendSpec{{Name: "ws1", Address: "10.0.0.1:3000", Listed: state, KillAt: killAt}, {Name: "other", Address: "10.0.0.2:3000"}}
	pools, _ := l.Apply([]Spec{l.spec})
	return pools["chat"].Members[0].Backend
}

// take returns the log and which backends have changed, since the last call.
func (l *listed) take() string {
	s := fmt.Sprint(l.changes, " ", l.log.Take())
	l.changes = nil
	return s
}

// TestListed: what a list says comes before the checks and operators.
func TestListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListed(t, Spec{SlowStart: 10 * time.Second})
		b := l.set(ListedReady, time.Time{})
		want := func(a Availability, name, reason string, keeps bool, log string) {
			t.Helper()
			s := b.State()
			if b.Availability() != a || s.Name != name || s.Reason != reason || b.KeepsClients() != keeps {
				t.Errorf("availability %v, keeps clients %v, state %+v", b.Availability(), b.KeepsClients(), s)
			}
			if got := l.take(); got != log {
				t.Errorf("got %q, want %q", got, log)
			}
		}
		want(Available, "up", "", false, "[] ")
		for range 1000 {
			l.set(ListedReady, time.Now())
		}
		want(Available, "up", "", false, "[] ")

		l.set(ListedUnready, time.Time{})
		const unready = "its list says that it is not ready"
		want(Unavailable, "unready", unready, true, `[ws1] level=INFO msg="backend ws1 is unready, was ready: `+unready+"\"\n")
		if b.IsDraining() || b.Share() != FullShare {
			t.Errorf("share %d", b.Share())
		}
		b.SetOperational(Down, "refused")
		want(Unavailable, "unready", unready, false, `[ws1] level=WARN msg="backend ws1 is down, was up: refused"`+"\n")
		b.SetOperational(Up, "fine")
		l.take()
		b.SetAdmin(Drain, "asked for")
		want(Unavailable, "drain", "asked for", true, `[ws1] level=INFO msg="backend ws1 is drain, was ready: asked for"`+"\n")
		b.SetAdmin(Ready, "asked for")
		l.take()

		time.Sleep(time.Hour)
		l.set(ListedReady, time.Time{})
		const ready = "its list says that it is ready"
		want(Available, "up", ready, false, `[ws1] level=INFO msg="backend ws1 is ready, was unready: `+ready+"\"\n")
		if b.UpSince() != time.Now() || b.Share() != 1 {
			t.Errorf("it doesn't start slowly: share %d, up since %v", b.Share(), b.UpSince())
		}
		time.Sleep(5 * time.Second)
		if share := b.Share(); share < FullShare*4/10 || share > FullShare*6/10 {
			t.Errorf("share %d after half of the slow start", share)
		}

		at := time.Now().Add(30 * time.Second)
		l.set(ListedTerminating, at)
		reason := "it terminates, and will be killed at " + at.UTC().Format(time.RFC3339)
		want(Unavailable, "terminating", reason, true, `[ws1] level=INFO msg="backend ws1 is terminating, was ready: `+reason+"\"\n")
		if !b.IsDraining() || !b.KillAt().Equal(at) || b.State().Listed != ListedTerminating {
			t.Errorf("killed at %v, state %+v", b.KillAt(), b.State())
		}
		l.set(ListedTerminating, at)
		want(Unavailable, "terminating", reason, true, "[] ")
		at = at.Add(-10 * time.Second)
		l.set(ListedTerminating, at)
		reason = "it terminates, and will be killed at " + at.UTC().Format(time.RFC3339)
		want(Unavailable, "terminating", reason, true, `[ws1] level=INFO msg="backend ws1: `+reason+"\"\n")
		b.SetDrainDeadline(time.Now())
		want(Unavailable, "terminating", reason, false, "[] ")
		b.SetDrainDeadline(time.Time{})
		b.SetAdmin(Maint, "asked for")
		l.take()
		want(Unavailable, "terminating", reason, false, "[] ")
		b.SetAdmin(Ready, "asked for")
		l.take()
		l.set(ListedTerminating, time.Time{})
		want(Unavailable, "terminating", "it terminates", true, `[ws1] level=INFO msg="backend ws1: it terminates"`+"\n")
		l.set(ListedReady, time.Time{})
		want(Available, "up", ready, false, `[ws1] level=INFO msg="backend ws1 is ready, was terminating: `+ready+"\"\n")
		if !b.KillAt().IsZero() || b.Share() != 1 {
			t.Errorf("killed at %v, share %d", b.KillAt(), b.Share())
		}
	})
}

// TestNewcomersOfLists: one that isn't ready when it comes says why without a line of the
// log, and the first that is ready doesn't wait for checks.
func TestNewcomersOfLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListed(t, Spec{Checked: true})
		backend := func(name string, n int, state Listed) BackendSpec {
			return BackendSpec{Name: name, Address: fmt.Sprintf("10.0.0.%d:3000", n), Listed: state, KillAt: time.Now().Add(time.Minute)}
		}
		set := func(specs ...BackendSpec) []Member {
			l.spec.Backends = specs
			pools, _ := l.Apply([]Spec{l.spec})
			return pools["chat"].Members
		}
		members := set(backend("old", 1, ListedTerminating), backend("new", 2, ListedUnready))
		if got := l.take(); got != "[old new] " {
			t.Errorf("got %q", got)
		}
		if s, u := members[0].Backend.State(), members[1].Backend.State(); s.Name != "terminating" || s.Changes != 0 || s.Since != time.Now() || u.Name != "unready" {
			t.Errorf("states %+v, %+v", s, u)
		}
		// Nobody else takes sessions.
		members = set(backend("old", 1, ListedTerminating), backend("new", 2, ListedUnready), backend("newer", 3, ListedReady))
		if s := members[2].Backend.State(); s.Name != "up" {
			t.Errorf("state %+v", s)
		}
		members = set(backend("newer", 3, ListedReady), backend("newest", 4, ListedReady))
		if s := members[1].Backend.State(); s.Name != "warming" {
			t.Errorf("state %+v", s)
		}
	})
}

// TestGone: a terminating backend that left its list is gone, unless the list is, and
// isn't once it is back.
func TestGone(t *testing.T) {
	l := newListed(t, Spec{})
	b := l.set(ListedTerminating, time.Time{})
	b.TryAcquire()
	all := l.spec.Backends
	for _, tt := range []struct {
		specs []Spec
		want  bool
	}{
		{[]Spec{{Name: "chat", Backends: all[1:]}}, true},
		{[]Spec{{Name: "chat"}}, false},
		{nil, false},
	} {
		l.Apply(tt.specs)
		if !b.Removed() || b.Gone() != tt.want || b.IsDraining() || b.KeepsClients() {
			t.Errorf("%+v: gone %v", tt.specs, b.Gone())
		}
		if again := l.set(ListedTerminating, time.Time{}); again != b || b.Gone() || !b.IsDraining() {
			t.Errorf("%+v: it is back, and gone %v", tt.specs, b.Gone())
		}
	}
	l.set(ListedReady, time.Time{})
	l.Apply([]Spec{{Name: "chat", Backends: all[1:]}})
	if b.Gone() {
		t.Error("one that was ready is gone")
	}
}
