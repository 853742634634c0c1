package relay

import (
	"testing"

	"pgregory.net/rapid"
)

// A reattachQueue is two queues, of which the first has priority, and a bounded
// number of places.
func TestReattachQueueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l reattachQueue[int]
		var rows [2][]int // ahead, others
		connecting, number := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if l.waits() != (len(rows[0])+len(rows[1]) > 0) || l.searching != connecting {
					t.Fatalf("%+v, want %v and %d places taken", l, rows, connecting)
				}
			},
			"join": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*maxConnecting).Draw(t, "how many") {
					row := rapid.IntRange(0, 1).Draw(t, "row")
					number++
					l.join(number, row == 0)
					rows[row] = append(rows[row], number)
				}
			},
			"next": func(t *rapid.T) {
				for {
					row := 0
					if len(rows[0]) == 0 {
						row = 1
					}
					got, ok := l.next()
					if want := connecting < maxConnecting && len(rows[row]) > 0; ok != want {
						t.Fatalf("next is %v with %d places taken, want %v", ok, connecting, want)
					}
					if !ok {
						return
					}
					if got != rows[row][0] {
						t.Fatalf("%d is next, want %d", got, rows[row][0])
					}
					rows[row] = rows[row][1:]
					connecting++
				}
			},
			"leave": func(t *rapid.T) {
				for range rapid.IntRange(0, connecting).Draw(t, "how many") {
					if connecting--; l.leave() != l.waits() {
						t.Fatal("leave reports wrongly whether a session waits")
					}
				}
			},
		})
	})
}
