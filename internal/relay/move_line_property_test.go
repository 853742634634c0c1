package relay

import (
	"testing"

	"pgregory.net/rapid"
)

// The line is two rows in the order of coming, one before the other, and as
// many places as there are.
func TestLineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l line[int]
		var rows [2][]int // held, others
		seeking, number := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if l.waits() != (len(rows[0])+len(rows[1]) > 0) || l.taken != seeking {
					t.Fatalf("%+v, want %v and %d places taken", l, rows, seeking)
				}
			},
			"join": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*maxSeeking).Draw(t, "how many") {
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
					if want := seeking < maxSeeking && len(rows[row]) > 0; ok != want {
						t.Fatalf("next is %v with %d places taken, want %v", ok, seeking, want)
					}
					if !ok {
						return
					}
					if got != rows[row][0] {
						t.Fatalf("%d is next, want %d", got, rows[row][0])
					}
					rows[row] = rows[row][1:]
					seeking++
				}
			},
			"leave": func(t *rapid.T) {
				for range rapid.IntRange(0, seeking).Draw(t, "how many") {
					if seeking--; l.leave() != l.waits() {
						t.Fatal("who waits isn't told of a place")
					}
				}
			},
		})
	})
}
