package generation

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// TestRateLimited: a client that belongs to a backend waits for that one, even if
// others have tokens. Any other client takes a backend that has one.
func TestRateLimited(t *testing.T) {
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
		"a key's":         {&Pool{Picker: newPicker(t, balance.Options{Algorithm: "hash"}, members), Key: room}, bearing("x-room", "7"), true, ""},
		"one without key": {&Pool{Picker: newPicker(t, balance.Options{Algorithm: "hash"}, members), Key: room}, asked{}, false, ""},
		"a cookie's":      {&Pool{Picker: newPicker(t, balance.Options{}, members), Cookie: cookie}, withCookie(1), true, AffinityKept},
		"a new cookie's":  {&Pool{Picker: newPicker(t, balance.Options{}, members), Cookie: cookie}, asked{}, false, AffinityNew},
		"a token's": {&Pool{Picker: newPicker(t, balance.Options{}, members), Token: parse(t, requestkey.ParseToken, "header:X-Room"),
			Tokens: newPicker(t, balance.Options{Algorithm: "hash"}, members)}, bearing("x-room", "7"), true, AffinityKept},
	} {
		q := ratelimit.New(ratelimit.Hooks{})
		q.Configure(ratelimit.Options{Rate: 0.0001, Burst: 1, Queue: 10, QueueTimeout: time.Minute})
		c.p.SetAdmit(q)
		take := func() (balance.Choice, error) {
			choice, _, result, err := c.p.Take(c.p.arriving, c.r, balance.Query{})
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
		if !errors.Is(err, balance.ErrRateLimited) || c.strict && held.Backend != first.Backend || !c.strict && held.Backend != nil {
			t.Errorf("%s: waits for %v after %v, %v", name, held.Backend, first.Backend, err)
		}
		if leases(members) != 0 {
			t.Errorf("%s: %d leases are out", name, leases(members))
		}
		// Plain HTTP has no rate limit.
		if choice, _, _, err := c.p.take(c.r, balance.Tried{}); err != nil {
			t.Errorf("%s: plain HTTP: %v", name, err)
		} else {
			choice.Backend.Release()
		}
	}
}
