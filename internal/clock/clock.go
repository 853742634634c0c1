// Package clock is where the balancer's packages take the time from and wait,
// so that a simulation can have them go by a time of its own.
package clock

import (
	"math"
	"time"
)

// Clock tells the time and waits. Options have one that may be nil, which means
// System: see Or.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f when d has passed.
	AfterFunc(d time.Duration, f func())
	// Loop makes a Loop that calls step. It idles until it is started.
	Loop(step Step) Loop
}

// Step does what is due and returns how long to wait before the next one: 0 is
// not at all. more is false where there is nothing to wait for.
type Step func() (wait time.Duration, more bool)

// Idle is the wait of a Step that has nothing to do before a Nudge.
const Idle time.Duration = math.MaxInt64

// Loop calls a Step again and again, never two at a time.
type Loop interface {
	// Start has the Step called until there is no more, the first time after
	// Start has returned. A loop may be started again, not before its Step
	// has decided that there is no more; under which lock is the caller's
	// affair.
	Start()
	// Nudge has the Step called without waiting any longer. It doesn't
	// block.
	Nudge()
}

// Or is c, or System where c is nil.
func Or(c Clock) Clock {
	if c == nil {
		return System{}
	}
	return c
}

// System is the time of package time. Its loops are goroutines that are there
// from Start until there is no more.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return time.Now() }

// AfterFunc implements Clock; f runs on a goroutine of its own.
func (System) AfterFunc(d time.Duration, f func()) { time.AfterFunc(d, f) }

// Loop implements Clock.
func (System) Loop(step Step) Loop { return &loop{step, make(chan struct{}, 1)} }

type loop struct {
	step Step
	wake chan struct{}
}

func (l *loop) Start() { go l.run() }

func (l *loop) Nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *loop) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, more := l.step()
		switch {
		case !more:
			return
		case wait <= 0:
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-l.wake:
		}
	}
}
