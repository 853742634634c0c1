package balance

import (
	"errors"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// A session that has lost its connection finds room at the backend where it
// holds a lease, and at no other that is full.
func TestLostBackendIsNeverFull(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		for _, cap := range []string{"backend", "pool"} {
			spec := weighted(1, 1, 1)
			if cap == "pool" {
				spec.MaxSessions = 3
			}
			for i := range spec.Backends {
				spec.Backends[i].MaxSessions = 1
			}
			m := newWorld(t, spec).members
			for i := range m {
				m[i].Backend.TryAcquire()
			}
			p := mustNew(t, Options{Algorithm: kind}, m)
			own := m[1].Backend
			for _, q := range []Query{{}, keyed(1), keyed(2), keyed(3)} {
				if _, err := p.Take(&q); !errors.Is(err, ErrFull) {
					t.Fatalf("%s: %v, want %v", cap, err, ErrFull)
				}
				q.Lost = own
				if c := mustTake(t, p, q); c.Backend != own || c.Index != 1 || own.Sessions() != 2 {
					t.Fatalf("%s: chose %s, which has %d leases", cap, c.Backend.Name, own.Sessions())
				}
				own.Release()
				q.Tried.Add(1)
				if _, err := p.Take(&q); !errors.Is(err, ErrFull) {
					t.Fatalf("%s: %v, want %v", cap, err, ErrFull)
				}
			}
			own.SetAdmin(pool.Drain, "test")
			if _, err := p.Take(&Query{Lost: own}); !errors.Is(err, ErrFull) {
				t.Errorf("%s: it drains: %v, want %v", cap, err, ErrFull)
			}
		}
	})
}
