package relay

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// Each session keeps its timeouts, whatever others begin and end, and the sets in use are
// no more than there are different ones at a time.
func TestTimeoutSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type open struct {
			number uint16
			want   timeouts
		}
		var sets timeoutSets
		var sessions []open
		most := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if n := len(sessions); n > 0 && rapid.Bool().Draw(t, "end") {
				i := rapid.IntRange(0, n-1).Draw(t, "which")
				sets.release(sessions[i].number)
				sessions[i] = sessions[n-1]
				sessions = sessions[:n-1]
			} else {
				of := timeouts{idle: eventloop.Tick(rapid.IntRange(0, 5).Draw(t, "idle")), slow: eventloop.Tick(rapid.IntRange(0, 2).Draw(t, "slow"))}
				sessions = append(sessions, open{sets.take(of), of})
			}
			different := map[timeouts]uint16{}
			for _, s := range sessions {
				if got := sets.of(s.number); got != s.want {
					t.Fatalf("%+v instead of %+v", got, s.want)
				}
				if n, ok := different[s.want]; ok && n != s.number {
					t.Fatalf("%+v has the numbers %d and %d", s.want, n, s.number)
				}
				different[s.want] = s.number
			}
			if most = max(most, len(different)); len(sets.sets) > most {
				t.Fatalf("%d sets for %d", len(sets.sets), most)
			}
		}
	})
}

// With more different sets than there are numbers, the last one is shared.
func TestTimeoutSetsFull(t *testing.T) {
	sets := timeoutSets{sets: make([]timeoutSet, maxTimeoutSet)}
	for i := range sets.sets {
		sets.sets[i] = timeoutSet{timeouts{idle: eventloop.Tick(i + 1)}, 1}
	}
	a, b := sets.take(timeouts{slow: 1}), sets.take(timeouts{slow: 2})
	if a != maxTimeoutSet || b != maxTimeoutSet || sets.of(b).slow != 1 {
		t.Errorf("numbers %d and %d", a, b)
	}
	sets.release(a)
	sets.release(b)
	if c := sets.take(timeouts{slow: 2}); sets.of(c).slow != 2 {
		t.Errorf("number %d has %+v", c, sets.of(c))
	}
}
