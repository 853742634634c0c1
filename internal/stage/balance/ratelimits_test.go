package balance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// tokens implements RateLimits with a number of tokens for each member.
type tokens struct {
	left  []int
	ready bool // Ready says so, whatever is left
}

func (r *tokens) CanTake(i int) bool { return r.ready || r.left[i] > 0 }
func (r *tokens) TryTake(i int) bool {
	if r.left[i] == 0 {
		return false
	}
	r.left[i]--
	return true
}

// Members without a token are passed over, and no token or lease is lost.
func TestRateLimits(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		rapid.Check(t, func(t *rapid.T) {
			weights := rapid.SliceOfN(rapid.IntRange(1, 5), 1, 5).Draw(t, "weights")
			spec := weighted(weights...)
			full := rapid.IntRange(0, len(weights)).Draw(t, "full")
			for i := range full {
				spec.Backends[i].MaxSessions = 1
			}
			w := newWorld(t, spec)
			for i := range full {
				occupy(w.members[i].Backend, 1)
			}
			p := mustNew(t, Options{Algorithm: kind}, w.members)
			r := &tokens{ready: rapid.Bool().Draw(t, "others are faster")}
			all := 0
			for i := range weights {
				r.left = append(r.left, rapid.IntRange(0, 4).Draw(t, "tokens"))
				if i >= full {
					all += r.left[i]
				}
			}
			had := slices.Clone(r.left)
			q := Query{Key: rapid.Uint64().Draw(t, "key"), Keyed: rapid.Bool().Draw(t, "keyed"), RateLimits: r}
			for range all {
				mustTake(t, p, q)
			}
			want := ErrRateLimited
			if full == len(weights) {
				want = ErrFull
			}
			if c, err := p.Take(&q); err != want {
				t.Fatalf("took %+v, %v with no token left, want %v", c, err, want)
			}
			for i, m := range w.members {
				if i < full {
					had[i] = 1
				} else if r.left[i] != 0 {
					t.Fatalf("member %d has %d tokens left", i, r.left[i])
				}
				if n := m.Backend.Sessions(); n != had[i] {
					t.Fatalf("member %d has %d leases, want %d", i, n, had[i])
				}
			}
			q.RateLimits = nil
			if full < len(weights) {
				mustTake(t, p, q)
			}
		})
	})
}

// A rate limit doesn't make a member less available: no ejected one is taken instead,
// and if there is no other, the error is ErrNoBackend.
func TestRateLimitsDoNotMakeUnfit(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		m := newWorld(t, passive(weighted(1, 1))).members
		p := mustNew(t, Options{Algorithm: kind}, m)
		eject(m[1].Backend)
		q := Query{RateLimits: &tokens{left: []int{0, 5}}}
		if c, err := p.Take(&q); err != ErrRateLimited {
			t.Errorf("took %+v, %v", c, err)
		}
		m[0].Backend.SetOperational(pool.Down, "test")
		m[1].Backend.SetOperational(pool.Down, "test")
		if c, err := p.Take(&q); err != ErrNoBackend {
			t.Errorf("took %+v, %v", c, err)
		}
	})
}

func TestRateLimitsDoNotAllocate(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		p := mustNew(t, Options{Algorithm: kind}, members(t, 1, 2, 3))
		q := Query{RateLimits: &tokens{left: []int{1 << 30, 1 << 30, 1 << 30}}}
		if n := testing.AllocsPerRun(100, func() {
			c, err := p.Take(&q)
			if err != nil {
				t.Fatal(err)
			}
			c.Backend.Release()
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
