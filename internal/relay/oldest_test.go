package relay

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// In whatever order sessions are added, the oldest of each backend are kept, sorted
// by age.
func TestOldest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.MapOfN(rapid.Uint32Range(1, 4), rapid.IntRange(1, 20), 1, 4).Draw(t, "most")
		o := oldest[int]{bounds: map[uint32]Bound{}}
		for backend, n := range most {
			o.bounds[backend] = Bound{Most: n}
		}
		ages := rapid.Permutation(slices.Collect(func(yield func(int64) bool) {
			for i := range int64(rapid.IntRange(0, 200).Draw(t, "sessions")) {
				if !yield(i + 1) {
					return
				}
			}
		})).Draw(t, "ages")
		of := map[uint32][]int64{}
		for i, age := range ages {
			backend := rapid.SampledFrom([]uint32{1, 2, 3, 4}).Draw(t, "backend")
			if most[backend] == 0 {
				continue
			}
			o.add(backend, age, i)
			of[backend] = append(of[backend], age)
		}
		var want []int64
		for backend, list := range of {
			slices.Sort(list)
			want = append(want, list[:min(most[backend], len(list))]...)
		}
		slices.Sort(want)
		var got []int64
		for _, a := range o.sorted() {
			if ages[a.session] != a.started {
				t.Fatalf("session %d is said to be of %d", a.session, a.started)
			}
			got = append(got, a.started)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v of %v", got, want, of)
		}
	})
}
