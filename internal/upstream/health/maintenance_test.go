package health

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// A backend that an operator has put into maintenance isn't checked, and its agent's word
// of before doesn't end that.
func TestMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		spec := health10
		spec.Checks = []CheckSpec{HTTP{Path: "/health"}, Agent{Port: 1}}
		drain := pool.Drain
		said := result{reply: agentReply{admin: &drain}}
		l.set(key(a1, kindOf(Agent{})), said)
		b := apply(l.registry, l.Checker, spec, a1, a2)[0]
		time.Sleep(30 * time.Second)
		if b.Admin() != pool.Drain || b.Operated() {
			t.Fatalf("its agent says drain, and it is %v", b.Admin())
		}
		b.Operate(pool.Maint, "asked for")
		apply(l.registry, l.Checker, spec, a1, a2)
		start := time.Now()
		time.Sleep(time.Hour)
		for _, at := range l.times(key(a1, kindHTTP), start) {
			if at > 0 {
				t.Errorf("it is checked %v after the maintenance began", at)
			}
		}
		if n := len(l.times(key(a2, kindHTTP), start)); n < 300 {
			t.Errorf("the other one was checked %d times", n)
		}
		if !b.InMaintenance() || b.Operational() != pool.Up {
			t.Errorf("it is %v and %v", b.Admin(), b.Operational())
		}
		// A reload that takes the checks away leaves it alone, too.
		apply(l.registry, l.Checker, Spec{}, a1, a2)
		if !b.InMaintenance() {
			t.Errorf("without checks it is %v", b.Admin())
		}
		b.SetOperational(pool.Warming, "the maintenance is over")
		b.Operate(pool.Ready, "asked for")
		l.set(key(a1, kindOf(Agent{})), result{})
		apply(l.registry, l.Checker, spec, a1, a2)
		time.Sleep(5 * time.Second)
		if b.Admin() != pool.Ready || b.Operational() != pool.Up {
			t.Errorf("after the maintenance it is %v and %v", b.Admin(), b.Operational())
		}
	})
}

// What an operator has set stays when the agent of before is no longer asked.
func TestOperatorOutlivesTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		spec := health10
		spec.Checks = []CheckSpec{HTTP{Path: "/health"}, Agent{Port: 1}}
		ready := pool.Ready
		l.set(key(a1, kindOf(Agent{})), result{reply: agentReply{admin: &ready}})
		b := apply(l.registry, l.Checker, spec, a1)[0]
		time.Sleep(time.Second)
		l.set(key(a1, kindOf(Agent{})), result{})
		b.Operate(pool.Drain, "asked for")
		apply(l.registry, l.Checker, health10, a1)
		if b.Admin() != pool.Drain {
			t.Errorf("without its agent it is %v", b.Admin())
		}
		apply(l.registry, l.Checker, Spec{}, a1)
		if b.Admin() != pool.Drain {
			t.Errorf("without checks it is %v", b.Admin())
		}
	})
}
