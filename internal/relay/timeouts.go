package relay

import "github.com/holdfast-ws/holdfast/internal/sock/eventloop"

// timeouts are those of a session that come from its configuration, see Limits; 0 is
// none.
type timeouts struct{ idle, interval, timeout, slow eventloop.Tick }

func (l *Limits) timeouts() timeouts {
	return timeouts{
		idle:     eventloop.Ticks(l.Idle),
		interval: eventloop.Ticks(l.KeepaliveInterval),
		timeout:  eventloop.Ticks(l.KeepaliveTimeout),
		slow:     eventloop.Ticks(l.SlowConsumer),
	}
}

// timeoutSets has the timeouts of a driver's sessions by number, so that a record needs
// only the number. Most sessions have the same ones: those of their route. Only the driver
// uses it. The zero value is ready to use.
type timeoutSets struct{ sets []timeoutSet }

type timeoutSet struct {
	timeouts
	sessions int // that have it; 0 is a set that another one may replace
}

// take returns the number of a set, for a session. It must be given back with release.
func (t *timeoutSets) take(of timeouts) uint16 {
	unused := -1
	for i := range t.sets {
		set := &t.sets[i]
		if set.timeouts == of {
			set.sessions++
			return uint16(i)
		}
		if set.sessions == 0 {
			unused = i
		}
	}
	switch {
	case unused >= 0:
		t.sets[unused] = timeoutSet{of, 1}
		return uint16(unused)
	case len(t.sets) > maxTimeoutSet:
		// 65,536 routes would have to differ in this, each with a session.
		t.sets[maxTimeoutSet].sessions++
		return maxTimeoutSet
	}
	t.sets = append(t.sets, timeoutSet{of, 1})
	return uint16(len(t.sets) - 1)
}

const maxTimeoutSet = 1<<16 - 1

func (t *timeoutSets) release(n uint16) { t.sets[n].sessions-- }

func (t *timeoutSets) of(n uint16) timeouts { return t.sets[n].timeouts }
