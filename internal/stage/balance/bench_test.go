package balance

import (
	"fmt"
	"testing"
)

func TestTakeDoesNotAllocate(t *testing.T) {
	for _, n := range []int{3, 100} {
		weights := make([]int, n)
		for i := range weights {
			weights[i] = i%3 + 1
		}
		m := members(t, weights...)
		each(t, Algorithms(), func(t *testing.T, kind string) {
			p := mustNew(t, Options{Algorithm: kind, Bound: 1.25, MinHealthy: 1}, m)
			for _, q := range []Query{without(1), keyed(42)} {
				if allocs := testing.AllocsPerRun(100, func() {
					c, err := p.Take(&q)
					if err != nil {
						t.Fatal(err)
					}
					c.Backend.Release()
					if c, ok := p.TakeMember(p.Owner(q.Key)); ok {
						c.Backend.Release()
					}
				}); allocs != 0 {
					t.Errorf("%v allocations a choice", allocs)
				}
			}
		})
	}
}

func BenchmarkTake(b *testing.B) {
	for _, c := range []struct {
		name string
		o    Options
		q    Query
		even bool
	}{
		{"round_robin", Options{Algorithm: "round_robin"}, Query{}, false},
		{"least_conn", Options{Algorithm: "least_conn"}, Query{}, false},
		{"p2c", Options{Algorithm: "p2c"}, Query{}, false},
		{"random", Options{Algorithm: "random"}, Query{}, false},
		{"hash", Options{Algorithm: "hash", Bound: 1.25}, keyed(0), true},
		{"hash-weighted", Options{Algorithm: "hash", Bound: 1.25}, keyed(0), false},
		{"hash-unbound", Options{Algorithm: "hash"}, keyed(0), true},
	} {
		for _, n := range []int{3, 10, 100} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				weights := equal(n)
				for i := range weights {
					if !c.even {
						weights[i] = i%3 + 1
					}
				}
				m := members(b, weights...)
				for i := range m {
					occupy(m[i].Backend, 100*weights[i])
				}
				p := mustNew(b, c.o, m)
				b.ReportAllocs()
				q := c.q
				for b.Loop() {
					q.Key++
					c, _ := p.Take(&q)
					c.Backend.Release()
				}
			})
		}
	}
}

func BenchmarkHome(b *testing.B) {
	for _, n := range []int{3, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := mustNew(b, Options{}, members(b, equal(n)...))
			key := uint64(0)
			for b.Loop() {
				key++
				p.Owner(key)
			}
		})
	}
}
