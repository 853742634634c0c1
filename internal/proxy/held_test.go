package proxy

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/affinity"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/requestkey"
)

// A client that belongs to a backend waits for that one, whatever tokens
// others have; one that doesn't takes any that has.
func TestWhomAHandshakeWaitsFor(t *testing.T) {
	members := newMembers(t)
	names := []string{"a", "b", "c"}
	cookie := affinity.NewTable(affinity.Cookie{Name: "c", Secret: "0123456789abcdef"}, "chat", names)
	withCookie := func(i int) asked {
		set := string(cookie.AppendSetCookie(nil, i, false))
		for j := range set {
			if set[j] == ';' {
				return bearing("cookie", set[:j])
			}
		}
		return bearing("cookie", set)
	}
	room := parse(t, requestkey.Parse, "header:X-Room")
	for name, c := range map[string]struct {
		p      *Pool
		r      asked
		strict bool
		result string
	}{
		"nobody's":        {&Pool{Picker: newPicker(t, balance.Options{}, members)}, asked{}, false, ""},
		"a key's":         {&Pool{Picker: newPicker(t, balance.Options{Kind: "hash"}, members), Key: room}, bearing("x-room", "7"), true, ""},
		"one without key": {&Pool{Picker: newPicker(t, balance.Options{Kind: "hash"}, members), Key: room}, asked{}, false, ""},
		"a cookie's":      {&Pool{Picker: newPicker(t, balance.Options{}, members), Cookie: cookie}, withCookie(1), true, affinityKept},
		"a new cookie's":  {&Pool{Picker: newPicker(t, balance.Options{}, members), Cookie: cookie}, asked{}, false, affinityNew},
		"a token's": {&Pool{Picker: newPicker(t, balance.Options{}, members), Token: parse(t, requestkey.ParseToken, "header:X-Room"),
			Tokens: newPicker(t, balance.Options{Kind: "hash"}, members)}, bearing("x-room", "7"), true, affinityKept},
	} {
		q := admit.New(admit.Hooks{})
		q.Configure(admit.Options{Rate: 0.0001, Burst: 1, Queue: 10, QueueTimeout: time.Minute})
		c.p.SetAdmit(q)
		take := func() (balance.Choice, error) {
			choice, _, result, err := c.p.takeAt(c.p.coming, c.r, balance.Query{})
			if result != c.result {
				t.Errorf("%s: result %q, want %q", name, result, c.result)
			}
			if err == nil {
				choice.Backend.Release()
			}
			return choice, err
		}
		first, err := take()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !c.strict { // the other two have a token
			for range 2 {
				if _, err := take(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		held, err := take()
		if !errors.Is(err, balance.ErrHeld) || c.strict && held.Backend != first.Backend || !c.strict && held.Backend != nil {
			t.Errorf("%s: waits for %v after %v, %v", name, held.Backend, first.Backend, err)
		}
		if leases(members) != 0 {
			t.Errorf("%s: %d leases are out", name, leases(members))
		}
		// Plain HTTP isn't held.
		if choice, _, _, err := c.p.take(c.r, balance.Tried{}); err != nil {
			t.Errorf("%s: plain HTTP: %v", name, err)
		} else {
			choice.Backend.Release()
		}
	}
}

// What Take takes for one that waits, and what it leaves to a new beginning.
func TestTakeForOneThatWaits(t *testing.T) {
	members := newMembers(t)
	q := admit.New(admit.Hooks{})
	q.Configure(admit.Options{Rate: 0.0001, Burst: 1})
	p := &Pool{Picker: newPicker(t, balance.Options{}, members)}
	p.SetAdmit(q)
	spine := &Proxy{}
	swap := func(pools map[string]*Pool) { spine.generation.Store(&Generation{Pools: pools}) }
	swap(map[string]*Pool{"chat": p})
	at := func(want uint32, index int, taken bool) {
		t.Helper()
		w := &waiting{proxy: spine, pool: "chat", want: want}
		if got := w.Take(); got != taken {
			t.Errorf("Take = %v, want %v", got, taken)
		}
		switch {
		case index < 0 && w.choice.Backend != nil:
			t.Errorf("it took %s", w.choice.Backend.Name)
		case index >= 0 && w.choice.Index != index:
			t.Errorf("it took %+v, want %d", w.choice, index)
		}
		w.giveBack()
		w.giveBack()
		if leases(members) != 0 {
			t.Errorf("%d leases are out", leases(members))
		}
	}
	b := members[1].Backend
	at(b.ID, 1, true)
	at(b.ID, 1, true) // its token came back
	p.buckets[1].TryPass(true)
	at(b.ID, -1, false)
	b.SetOperational(pool.Down, "test")
	at(b.ID, -1, true)
	at(1<<30, -1, true)
	p.buckets[0].TryPass(true)
	at(0, 2, true)
	p.buckets[2].TryPass(true)
	at(0, -1, false)
	swap(map[string]*Pool{"chat": {Picker: p.Picker}})
	at(0, -1, true)
	swap(nil)
	at(0, -1, true)
}
