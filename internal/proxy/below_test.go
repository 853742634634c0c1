package proxy

import (
	"errors"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/pool"
	"github.com/holdfast-ws/holdfast/internal/requestkey"
)

// A session that is given away goes to a member below its fair share: of
// several, to the one that its key or token comes to first, else to the least
// loaded. Where the pool would refuse a client any other than its own, and
// whatever its cookie says, is no matter.
func TestTakeBelow(t *testing.T) {
	for name, tt := range map[string]struct {
		make  func(members []pool.Member) *Pool
		keyed bool
	}{
		"plain": {func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{Kind: "round_robin"}, m)}
		}, false},
		"hash": {func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{Kind: "hash"}, m), Key: parse(t, requestkey.Parse, "header:X-Room")}
		}, true},
		"token": {func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{}, m), Tokens: newPicker(t, balance.Options{Kind: "hash"}, m),
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
			c, err := p.takeBelow(r, tried)
			if err != nil || c.Index == 0 {
				t.Fatalf("%s: took %+v, %v", name, c, err)
			}
			again, err := p.takeBelow(r, tried)
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
		if c, err := p.takeBelow(asked{}, tried); err != nil || c.Index != 2 {
			t.Errorf("%s: took %+v, %v, the third has least", name, c, err)
		}
		for _, m := range members[1:] {
			for m.Backend.Sessions() < 4 {
				m.Backend.TryAcquire()
			}
		}
		if c, err := p.takeBelow(bearing("x-room", "A"), tried); !errors.Is(err, balance.ErrEven) {
			t.Errorf("%s: took %+v, %v, all is even", name, c, err)
		}
	}
}

// Clients that were told to come back are expected as sessions: plain requests
// take none of their places.
func TestExpectedAreSessions(t *testing.T) {
	members := newMembers(t)
	for range 4 {
		members[0].Backend.TryAcquire()
	}
	p := &Pool{Picker: newPicker(t, balance.Options{Kind: "round_robin"}, members)}
	p.Picker.Expect(3)
	for range 3 {
		c, _, _, err := p.take(plainRequest{}, balance.Tried{})
		if err != nil {
			t.Fatal(err)
		}
		c.Backend.Release()
	}
	for range 3 { // of which round robin would give one to each
		if c, _, _, err := p.take((*attemptRequest)(&attempt{}), balance.Tried{}); err != nil || c.Index == 0 {
			t.Errorf("took %+v, %v", c, err)
		}
	}
}
