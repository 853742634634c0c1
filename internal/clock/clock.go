// Package clock tells the time and waits. Packages whose decisions depend on time
// use a Clock, so that a simulation can run them by a time of its own.
package clock

import (
	"math"
	"time"
)

// Clock tells the time and waits. In options, a nil Clock means System: see Or.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f when d has passed.
	AfterFunc(d time.Duration, f func())
	// Loop makes a Loop that calls step once it is started.
	Loop(step Step) Loop
}

// Step does the work that is due and returns how long to wait before the next
// call; 0 means not at all. If more is false, the Loop ends.
type Step func() (wait time.Duration, more bool)

// Idle is the wait of a Step that has nothing to do until a Nudge.
const Idle time.Duration = math.MaxInt64

// Loop calls a Step repeatedly, never concurrently.
type Loop interface {
	// Start calls the Step until more is false, the first time after Start has
	// returned. A loop may be started again once its Step has decided to return
	// false; the caller needs a lock for that decision.
	Start()
	// Nudge ends the current wait, so that the Step is called at once. It
	// doesn't block.
	Nudge()
}

// Or returns c, or System if c is nil.
func Or(c Clock) Clock {
	if c == nil {
		return System{}
	}
	return c
}

// System is the Clock of package time. Its loops are goroutines from Start until
// their Step returns false.
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
