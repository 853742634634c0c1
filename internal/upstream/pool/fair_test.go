package pool

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestFairLevel(t *testing.T) {
	const none = math.MaxInt
	for name, tt := range map[string]struct {
		parts []Capacity
		n     int
		want  []float64
	}{
		"nobody":              {nil, 5, nil},
		"equal":               {[]Capacity{{1, none}, {1, none}, {1, none}, {1, none}}, 3000, []float64{750, 750, 750, 750}},
		"by weight":           {[]Capacity{{3, none}, {1, none}}, 10, []float64{7.5, 2.5}},
		"no part":             {[]Capacity{{1, none}, {0, none}, {1, none}}, 10, []float64{5, 0, 5}},
		"one is full":         {[]Capacity{{1, 100}, {1, none}, {1, none}}, 1000, []float64{100, 450, 450}},
		"so the next is":      {[]Capacity{{1, 100}, {1, 400}, {1, none}}, 1000, []float64{100, 400, 500}},
		"all are":             {[]Capacity{{1, 10}, {1, 20}}, 1000, []float64{10, 20}},
		"nothing to divide":   {[]Capacity{{1, none}, {2, none}}, 0, []float64{0, 0}},
		"one may have none":   {[]Capacity{{1, 0}, {2, none}}, 6, []float64{0, 6}},
		"exactly what it may": {[]Capacity{{1, 3}, {1, 3}}, 6, []float64{3, 3}},
	} {
		level := FairLevel(tt.parts, tt.n)
		for i, p := range tt.parts {
			if got := p.FairShare(level); math.Abs(got-tt.want[i]) > 1e-9 {
				t.Errorf("%s: member %d has a fair share of %v, want %v", name, i, got, tt.want[i])
			}
		}
	}
}

// All sessions are divided as far as there is room, no backend exceeds its limit,
// and one that has less than others for its weight is at its limit.
func TestFairLevelDividesAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []Capacity
		room := 0
		for range rapid.IntRange(1, 12).Draw(t, "members") {
			p := Capacity{Weight: rapid.Uint64Range(0, 256*FullShare).Draw(t, "weight"), Limit: rapid.IntRange(0, 1000).Draw(t, "most")}
			if parts = append(parts, p); p.Weight > 0 {
				room += p.Limit
			}
		}
		n := rapid.IntRange(0, 5000).Draw(t, "sessions")
		level := FairLevel(parts, n)
		sum, highest := 0.0, 0.0
		for _, p := range parts {
			fair := p.FairShare(level)
			sum += fair
			if fair > float64(p.Limit) || fair < 0 {
				t.Fatalf("%+v has a fair share of %v", p, fair)
			}
			if p.Weight > 0 {
				highest = max(highest, fair/float64(p.Weight))
			}
		}
		if want := float64(min(n, room)); math.Abs(sum-want) > 1e-6*want+1e-6 {
			t.Fatalf("%v of %d are divided, with room for %d", sum, n, room)
		}
		for _, p := range parts {
			if fair := p.FairShare(level); p.Weight > 0 && fair < float64(p.Limit) && fair/float64(p.Weight) < highest*(1-1e-9) {
				t.Fatalf("%+v has %v, others %v for a weight of 1", p, fair, highest)
			}
		}
	})
}
