package health

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		two := health10
		two.Checks = []CheckSpec{HTTP{Path: "/health"}, TCP{}}
		web, tcp := key(a1, kindHTTP), key(a1, kindOf(TCP{}))
		l.delay[tcp] = 300 * time.Millisecond
		b := apply(l.registry, l.Checker, two, a1)[0]
		if last, ok := l.Last()[b]; ok {
			t.Errorf("before the first check: %+v", last)
		}
		begun := time.Now()
		time.Sleep(time.Second)
		if last, want := l.Last()[b], (Last{At: begun, OK: true, Duration: 300 * time.Millisecond}); last != want {
			t.Errorf("after a good round: %+v, want %+v", last, want)
		}
		l.set(web, fail)
		time.Sleep(12 * time.Second)
		if last := l.Last()[b]; last.OK || last.Reason != two.Checks[0].label()+": status 500, want 200" || last.At.Equal(begun) {
			t.Errorf("after a bad round: %+v", last)
		}
		l.set(web, busy)
		time.Sleep(12 * time.Second)
		if last := l.Last()[b]; last.OK || last.Reason != two.Checks[0].label()+": status 503" {
			t.Errorf("after a 503: %+v", last)
		}
		// A reload with other checks keeps it until they have run.
		before, other := l.Last()[b], two
		other.Fall = 5
		apply(l.registry, l.Checker, other, a1)
		if last := l.Last()[b]; last != before {
			t.Errorf("after a reload: %+v, want %+v", last, before)
		}
		apply(l.registry, l.Checker, Spec{}, a1)
		if last, ok := l.Last()[b]; ok {
			t.Errorf("without checks: %+v", last)
		}
	})
}
