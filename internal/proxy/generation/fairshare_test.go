package generation

import (
	"errors"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// A session that a backend gives away moves to a member below its fair share. If
// there are several, it's the first by its key or token, otherwise the least
// loaded. Refuse and the client's cookie are ignored.
func TestTakeBelow(t *testing.T) {
	for name, tt := range map[string]struct {
		make  func(members []pool.Member) *Pool
		keyed bool
	}{
		"plain": {func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{Algorithm: "round_robin"}, m)}
		}, false},
		"hash": {func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{Algorithm: "hash"}, m), Key: parse(t, requestkey.Parse, "header:X-Room")}
		}, true},
		"token": {func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{}, m), Tokens: newPicker(t, balance.Options{Algorithm: "hash"}, m),
				Token: parse(t, requestkey.ParseToken, "header:X-Room"), Refuse: true}
		}, true},
	} {
		members := newMembers(t)
		for range 4 {
			members[0].Backend.TryAcquire()
		}
		p := tt.make(members)
		tried := balance.Tried{}
		tried.Add(0)
		seen := map[int]bool{}
		for i := range 40 {
			r := bearing("x-room", string(rune('A'+i)))
			c, err := p.TakeBelowFairShare(r, tried)
			if err != nil || c.Index == 0 {
				t.Fatalf("%s: took %+v, %v", name, c, err)
			}
			again, err := p.TakeBelowFairShare(r, tried)
			if same := err == nil && again.Index == c.Index; same != tt.keyed {
				t.Errorf("%s: one key goes to %d and then to %d, %v", name, c.Index, again.Index, err)
			}
			if err == nil {
				again.Backend.Release()
			}
			c.Backend.Release()
			seen[c.Index] = true
		}
		if tt.keyed != (len(seen) == 2) {
			t.Errorf("%s: it went to %v", name, seen)
		}
		// Without a key it is the least loaded.
		members[1].Backend.TryAcquire()
		if c, err := p.TakeBelowFairShare(asked{}, tried); err != nil || c.Index != 2 {
			t.Errorf("%s: took %+v, %v, the third has least", name, c, err)
		}
		for _, m := range members[1:] {
			for m.Backend.Sessions() < 4 {
				m.Backend.TryAcquire()
			}
		}
		if c, err := p.TakeBelowFairShare(bearing("x-room", "A"), tried); !errors.Is(err, balance.ErrBalanced) {
			t.Errorf("%s: took %+v, %v, all is even", name, c, err)
		}
	}
}

// Only sessions count for SteerNext, not plain requests.
func TestExpectedAreSessions(t *testing.T) {
	members := newMembers(t)
	for range 4 {
		members[0].Backend.TryAcquire()
	}
	p := &Pool{Picker: newPicker(t, balance.Options{Algorithm: "round_robin"}, members)}
	p.Picker.SteerNext(3)
	for range 3 {
		c, _, _, err := p.take(PlainRequest{}, balance.Tried{})
		if err != nil {
			t.Fatal(err)
		}
		c.Backend.Release()
	}
	for range 3 { // of which round robin would give one to each
		if c, _, _, err := p.Take(nil, asked{}, balance.Query{Session: true}); err != nil || c.Index == 0 {
			t.Errorf("took %+v, %v", c, err)
		}
	}
}
