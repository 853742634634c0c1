package balance

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"pgregory.net/rapid"
)

// first always takes the first member that is available and not full, whatever the
// weights.
func TestFirstFillsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := weighted(someWeights.Draw(t, "weights")...)
		most := make([]int, len(spec.Backends))
		for i := range spec.Backends {
			most[i] = rapid.IntRange(1, 4).Draw(t, "max")
			spec.Backends[i].MaxSessions = most[i]
		}
		m := newWorld(t, spec).members
		p := mustNew(t, Options{Algorithm: "first"}, m)
		up := make([]bool, len(m))
		for i := range up {
			up[i] = true
		}
		for range 40 {
			i := rapid.IntRange(0, len(m)-1).Draw(t, "member")
			switch rapid.SampledFrom([]string{"take", "take", "take", "end", "drain", "back"}).Draw(t, "what") {
			case "end":
				if m[i].Backend.Sessions() > 0 {
					m[i].Backend.Release()
				}
			case "drain":
				m[i].Backend.SetAdmin(pool.Drain, "")
				up[i] = false
			case "back":
				m[i].Backend.SetAdmin(pool.Ready, "")
				up[i] = true
			default:
				want := -1
				for j := range m {
					if up[j] && m[j].Backend.Sessions() < most[j] {
						want = j
						break
					}
				}
				c, err := p.Take(&Query{Session: true})
				if (err == nil) != (want >= 0) || err == nil && c.Index != want {
					t.Fatalf("took %+v, %v; want %d", c, err, want)
				}
			}
		}
	})
}
