package ratelimit

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type item struct{ links link[item] }

func itemLinks(i *item) *link[item] { return &i.links }

// A list is the same as a slice, in both directions.
func TestListIsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l list[item]
		var want []*item
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				i := rapid.IntRange(0, len(want)).Draw(t, "at")
				var before *item
				if i < len(want) {
					before = want[i]
				}
				added := &item{}
				l.insert(added, before, itemLinks)
				want = slices.Insert(want, i, added)
			},
			"remove": func(t *rapid.T) {
				if len(want) == 0 {
					return
				}
				i := rapid.IntRange(0, len(want)-1).Draw(t, "at")
				l.remove(want[i], itemLinks)
				if want[i].links != (link[item]{}) {
					t.Fatal("who is out has links")
				}
				want = slices.Delete(want, i, i+1)
			},
			"": func(t *rapid.T) {
				var forth, back []*item
				for i := l.first; i != nil; i = i.links.next {
					forth = append(forth, i)
				}
				for i := l.last; i != nil; i = i.links.prev {
					back = append(back, i)
				}
				slices.Reverse(back)
				if !slices.Equal(forth, want) || !slices.Equal(back, want) {
					t.Fatalf("%v forth and %v back, want %v", forth, back, want)
				}
			},
		})
	})
}
