package pool

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestState(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	pools, _ := r.Apply(spec(BackendSpec{Name: "ws1", Address: "10.0.0.1:3000", MaxSessions: 7}))
	b := pools["chat"].Members[0].Backend
	b.TryAcquire()
	b.SetLoad(0.25)
	s := b.State()
	if s.Name != "up" || s.Sessions != 1 || s.MaxSessions != 7 || s.Share != 0.25 || s.Changes != 0 || s.Reason != "" || !s.Since.IsZero() ||
		len(s.Addresses) != 1 || s.Addresses[0].String() != "10.0.0.1:3000" {
		t.Errorf("state %+v", s)
	}
	b.SetOperational(Draining, "status 503")
	b.SetAdmin(Drain, "an agent says so")
	if s = b.State(); s.Name != "drain" || s.Operational != Draining || s.Admin != Drain || s.Changes != 2 {
		t.Errorf("state %+v", s)
	}
}

// That a name doesn't resolve is the reason of a backend that is up, but doesn't
// replace the reason of one that is down.
func TestStateOfAnUnresolvedName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{}
		dns.set(nil, "10.0.0.1")
		r := New(Options{Resolver: dns})
		defer r.Close()
		pools, _ := r.Apply(named())
		b := pools["chat"].Members[0].Backend
		dns.set(noSuchHost)
		time.Sleep(time.Minute)
		synctest.Wait()
		const trouble = "name ws2.internal does not resolve: no such host"
		if s := b.State(); s.Name != "up" || s.Reason != trouble {
			t.Errorf("state %+v, want up and why", s)
		}
		b.SetOperational(Down, "refused")
		if s := b.State(); s.Name != "down" || s.Reason != "refused" {
			t.Errorf("state %+v, want down and why", s)
		}
	})
}

// Every name that a state has is listed by StateNames.
func TestStateNames(t *testing.T) {
	words := map[string]bool{"removed": true, "unresolved": true, "ejected": true}
	for o := Up; o <= Down; o++ {
		words[o.String()] = true
	}
	for a := Drain; a <= Maint; a++ {
		words[a.String()] = true
	}
	for l := ListedUnready; l <= ListedTerminating; l++ {
		words[l.String()] = true
	}
	listed := StateNames()
	for _, w := range listed {
		if !words[w] {
			t.Errorf("%q is listed", w)
		}
		delete(words, w)
	}
	if len(words) > 0 || len(slices.Compact(slices.Sorted(slices.Values(listed)))) != len(listed) {
		t.Errorf("not listed: %v; listed: %v", words, listed)
	}
}
