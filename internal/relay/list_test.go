package relay

import (
	"testing"

	"pgregory.net/rapid"
)

// A session that stays keeps its slot and is listed once, even if others come and
// go between two pages.
func TestRoster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l roster
		var stay, others []*portableSession
		add := func(list *[]*portableSession) {
			ps := &portableSession{}
			l.add(ps)
			*list = append(*list, ps)
		}
		for range rapid.IntRange(0, 50).Draw(t, "sessions") {
			add(rapid.SampledFrom([]*[]*portableSession{&stay, &others}).Draw(t, "kind"))
		}
		seen := map[*portableSession]int{}
		for at := 0; at >= 0; {
			var page []*portableSession
			limit := rapid.IntRange(1, 10).Draw(t, "limit")
			page, at = l.from(at, limit)
			if len(page) > limit {
				t.Fatalf("%d on a page of %d", len(page), limit)
			}
			for _, ps := range page {
				seen[ps]++
			}
			if rapid.Bool().Draw(t, "leaves") && len(others) > 0 {
				l.remove(others[0])
				others = others[1:]
			} else if len(others) < 50 && rapid.Bool().Draw(t, "comes") {
				add(&others)
			}
		}
		for _, ps := range stay {
			if seen[ps] != 1 {
				t.Fatalf("one that stayed was listed %d times", seen[ps])
			}
		}
		if l.len() != len(stay)+len(others) {
			t.Fatalf("it has %d, want %d", l.len(), len(stay)+len(others))
		}
	})
}
