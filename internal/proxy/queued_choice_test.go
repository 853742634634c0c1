package proxy

import (
	"fmt"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// TestTryStart has what a queued handshake takes when its turn comes, and when it
// must choose again itself.
func TestTryStart(t *testing.T) {
	members := newMembers(t)
	q := ratelimit.New(ratelimit.Hooks{})
	q.Configure(ratelimit.Options{Rate: 0.0001, Burst: 1})
	p := &generation.Pool{Picker: newPicker(t, balance.Options{}, members)}
	p.SetAdmit(q)
	spine := &Proxy{}
	swap := func(pools map[string]*generation.Pool) { spine.generation.Store(&generation.Generation{Pools: pools}) }
	swap(map[string]*generation.Pool{"chat": p})
	at := func(want uint32, index int, taken bool) {
		t.Helper()
		w := &queuedHandshake{proxy: spine, pool: "chat", backend: want}
		if got := w.TryStart(); got != taken {
			t.Errorf("TryStart = %v, want %v", got, taken)
		}
		switch {
		case index < 0 && w.choice.Backend != nil:
			t.Errorf("it took %s", w.choice.Backend.Name)
		case index >= 0 && w.choice.Index != index:
			t.Errorf("it took %+v, want %d", w.choice, index)
		}
		w.release()
		w.release()
		if leases(members) != 0 {
			t.Errorf("%d leases are out", leases(members))
		}
	}
	b := members[1].Backend
	at(b.ID, 1, true)
	at(b.ID, 1, true) // its token came back
	p.Bucket(1).TryTake(true)
	at(b.ID, -1, false)
	b.SetOperational(pool.Down, "test")
	at(b.ID, -1, true)
	at(1<<30, -1, true)
	p.Bucket(0).TryTake(true)
	at(0, 2, true)
	p.Bucket(2).TryTake(true)
	at(0, -1, false)
	swap(map[string]*generation.Pool{"chat": {Picker: p.Picker}})
	at(0, -1, true)
	swap(nil)
	at(0, -1, true)
}

// newMembers are three backends, a, b and c, of a pool with checks that ejects at
// the first failure.
func newMembers(t *testing.T) []pool.Member {
	t.Helper()
	registry := pool.New(pool.Options{})
	t.Cleanup(registry.Close)
	spec := pool.Spec{Name: "chat", MaxFails: 1, FailTimeout: 1 << 40, Checked: true}
	for i, name := range []string{"a", "b", "c"} {
		spec.Backends = append(spec.Backends, pool.BackendSpec{Name: name, Address: fmt.Sprintf("127.0.0.1:%d", i+1), MaxSessions: 5})
	}
	pools, _ := registry.Apply([]pool.Spec{spec})
	return pools["chat"].Members
}

func newPicker(t *testing.T, o balance.Options, members []pool.Member) balance.Picker {
	t.Helper()
	p, err := balance.New(o, members)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func leases(members []pool.Member) (n int) {
	for _, m := range members {
		n += m.Backend.Sessions()
	}
	return n
}
