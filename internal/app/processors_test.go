package app

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on atomic.Bool
		var changes atomic.Int32
		p := &processors{set: func(b bool) {
			if on.Swap(b) != b {
				changes.Add(1)
			}
		}}
		check := func(want bool) {
			t.Helper()
			synctest.Wait()
			if on.Load() != want {
				t.Fatalf("spare processors are %v, want %v", on.Load(), want)
			}
		}
		p.enter()
		check(true)
		time.Sleep(10 * cooldown) // work may take long
		check(true)
		p.enter()
		p.leave()
		p.leave()
		check(true)
		time.Sleep(cooldown / 2)
		p.while(func() { check(true) }) // a late user puts the end off
		time.Sleep(cooldown - time.Millisecond)
		check(true)
		time.Sleep(time.Millisecond)
		check(false)
		if n := changes.Load(); n != 2 {
			t.Errorf("processors came and went %d times, want 2", n)
		}
		p.enter()
		check(true)
		p.leave()
		time.Sleep(cooldown)
		check(false)
	})
}
