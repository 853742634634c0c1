package hub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
)

func TestMemoryForgetsEmptyRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.Memory(hub.Options{HistoryTTL: time.Hour, MaxRooms: 1})
		defer h.Close()
		first := publish(t, h, "room", "1")
		m := join(t, h, "room", "ann", hub.JoinOptions{Since: first})
		time.Sleep(24 * time.Hour)
		m.Leave()
		time.Sleep(59 * time.Minute)
		last := publish(t, h, "room", "2")
		time.Sleep(59 * time.Minute)
		m = join(t, h, "room", "ann", hub.JoinOptions{Since: first})
		expect(t, m, "2")
		m.Leave()
		time.Sleep(time.Hour + time.Second)

		// The room is gone: there is space for another, and its history has a gap.
		other := join(t, h, "another room", "ann", hub.JoinOptions{})
		other.Leave()
		time.Sleep(time.Second)
		expect(t, join(t, h, "room", "ann", hub.JoinOptions{Since: last}), "gap")
	})
}

// IDs increase even if the clock stands still.
func TestMemoryIDsOfOneMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.Memory(hub.Options{})
		defer h.Close()
		m := join(t, h, "room", "ann", hub.JoinOptions{})
		for range 3 {
			publish(t, h, "room", "")
		}
		a, b, c := next(t, m), next(t, m), next(t, m)
		if !a.Time().Equal(c.Time()) || a.ID == b.ID || b.ID == c.ID {
			t.Errorf("the IDs are %s, %s and %s", a.ID, b.ID, c.ID)
		}
	})
}
