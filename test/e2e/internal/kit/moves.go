//go:build unix

package kit

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// ManySessions is the number of sessions in tests of a deploy or a crash.
var ManySessions = UnlessBenching(400, 2000)

// Frequent is five messages a second both ways.
var Frequent = Behaviour{pause: 200 * time.Millisecond, broken: 15}

// CheckSpread checks that no close came before the window that begins at from.
// It notes two figures: how late the last close was, and how many came in the
// busiest second, divided by the mean, which should be at most peak.
func CheckSpread(t *testing.T, who string, closes []time.Time, from time.Time, spread time.Duration, peak float64) {
	t.Helper()
	slices.SortFunc(closes, time.Time.Compare)
	if early := from.Sub(closes[0]); early > 250*time.Millisecond {
		t.Errorf("%s: a session was closed %v before the window of %v", who, early, spread)
	}
	AtMost(t, who+": last close after the window", closes[len(closes)-1].Sub(from.Add(spread)), time.Second)
	mean := float64(len(closes)) / spread.Seconds()
	AtMost(t, who+": closes in the busiest second, of the mean", float64(BusiestSecond(closes))/mean, peak)
}

// BusiestSecond returns the largest number of times, which are sorted, within a
// second.
func BusiestSecond(times []time.Time) (most int) {
	for i, at := range times {
		n, _ := slices.BinarySearchFunc(times[i:], at.Add(time.Second), time.Time.Compare)
		most = max(most, n)
	}
	return most
}

// RemoveEnded waits until n sessions have ended, and takes them out of the crowd.
func (c *Crowd) RemoveEnded(t testing.TB, n int) (gone []*Member) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("end of %d sessions", n), func() bool {
		c.Members = slices.DeleteFunc(c.Members, func(m *Member) bool {
			select {
			case <-m.Over:
				gone = append(gone, m)
				return true
			default:
				return false
			}
		})
		return len(gone) >= n
	})
	return gone
}

// NoteRates notes how many messages a second the members sent and received.
// With the behaviour Frequent it is five.
func (c *Crowd) NoteRates(t testing.TB) {
	t.Helper()
	var sent, received, seconds float64
	for _, m := range c.Members {
		sent += float64(m.Ending.Sent)
		received += float64(m.Ending.Received)
		seconds += (m.Ending.At.Sub(m.opened) - m.Behaviour.pause).Seconds() // before the first
	}
	if sent == 0 || received == 0 {
		t.Errorf("%v messages were sent, %v received", sent, received)
	}
	AtLeast(t, "messages/s from each client", sent/seconds, 4.0)
	AtLeast(t, "messages/s to each client", received/seconds, 4.0)
}

// CheckGaps checks that each move is in the histogram of gaps, and notes how many
// delayed the client by at most limit, which is the bound of a bucket.
func CheckGaps(t testing.TB, m Metrics, limit time.Duration) {
	t.Helper()
	const name = "holdfast_reattach_gap_seconds"
	within := func(limit time.Duration) float64 {
		return m[fmt.Sprintf("%s_bucket{le=\"%v\"}", name, limit.Seconds())]
	}
	all := m[name+"_count"]
	t.Logf("%v gaps, %v ms on average; %v within 10 ms, %v within 100 ms, %v within 500 ms", all,
		math.Round(1000*m[name+"_sum"]/all), within(10*time.Millisecond), within(100*time.Millisecond), within(500*time.Millisecond))
	if moved := m.Moves("", "moved"); all != moved {
		t.Errorf("the histogram has %v gaps of %v moves", all, moved)
	}
	AtLeast(t, fmt.Sprintf("moves that took %v or less, in %%", limit), 100*within(limit)/all, 99.0)
}

// Moves returns the number of moves with a reason and a result; "" is any.
func (m Metrics) Moves(reason, result string) (n float64) {
	for series, value := range m {
		if strings.HasPrefix(series, "holdfast_reattach_total{") && !strings.Contains(series, "backend=") && // the sums
			(reason == "" || strings.Contains(series, fmt.Sprintf("reason=%q", reason))) &&
			(result == "" || strings.Contains(series, fmt.Sprintf("result=%q", result))) {
			n += value
		}
	}
	return n
}

// SessionsSeries returns the metric of the sessions on backend i of the pool
// "main".
func SessionsSeries(i int) string {
	return fmt.Sprintf(`holdfast_backend_sessions{backend=%q,pool="main"}`, BackendName(i))
}
