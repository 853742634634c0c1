package ratelimit

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Hooks{})
		p.Configure(Options{Rate: 100, Burst: 10})
		b := p.Bucket(1, nil)
		book := func(most, want time.Duration, ok bool) {
			t.Helper()
			after, got := b.Reserve(most)
			if got != ok || after < want-time.Microsecond || after > want+time.Microsecond {
				t.Errorf("reserved %v, in %v; want %v, %v", got, after, ok, want)
			}
		}
		for range 8 { // what is let go at once of a burst of 10
			book(0, 0, true)
		}
		book(0, 0, false)
		for i := range time.Duration(50) {
			book(time.Second, (i+1)*10*time.Millisecond, true)
		}
		book(500*time.Millisecond, 0, false)
		if b.TryTake(false) || b.TryTake(true) {
			t.Error("a newcomer goes before the reservations")
		}
		for range 10 {
			b.CancelReservation()
		}
		book(time.Second, 410*time.Millisecond, true)
		time.Sleep(400 * time.Millisecond)
		if b.TryTake(true) {
			t.Error("it has a token before its time")
		}
		time.Sleep(20*time.Millisecond + time.Microsecond)
		if !b.TryTake(true) {
			t.Error("there is no token when all reservations are used")
		}

		// A handshake that doesn't wait delays the others, but not for ever.
		time.Sleep(time.Second)
		for range 1000 {
			b.Charge()
		}
		book(time.Second, 110*time.Millisecond, true)

		// Without a rate nobody waits, now or later.
		p.Configure(Options{Burst: 10})
		for range 100 {
			b.Charge()
			book(0, 0, true)
		}
		p.Configure(Options{Rate: 100, Burst: 10})
		time.Sleep(time.Second)
		book(0, 0, true)
	})
}
