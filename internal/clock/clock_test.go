package clock_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal records when steps are called, and returns their waits.
type journal struct {
	began time.Time

	mu    sync.Mutex // guards the following
	at    []time.Duration
	waits []time.Duration // to return; the loop ends when none is left
}

func (j *journal) step() (time.Duration, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.at = append(j.at, time.Since(j.began))
	if len(j.waits) == 0 {
		return 0, false
	}
	wait := j.waits[0]
	j.waits = j.waits[1:]
	return wait, true
}

func (j *journal) want(t *testing.T, at ...time.Duration) {
	t.Helper()
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.at, at) {
		t.Errorf("steps at %v, want %v", j.at, at)
	}
}

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{began: time.Now(), waits: []time.Duration{0, 2 * time.Second, 10 * time.Second}}
		l := clock.Or(nil).Loop(j.step)
		j.want(t)
		l.Start()
		j.want(t, 0, 0)
		time.Sleep(5 * time.Second)
		j.want(t, 0, 0, 2*time.Second)
		l.Nudge()
		j.want(t, 0, 0, 2*time.Second, 5*time.Second)
		time.Sleep(time.Minute)

		j.at, j.waits = nil, []time.Duration{time.Second}
		l.Start()
		time.Sleep(time.Minute)
		j.want(t, 65*time.Second, 66*time.Second)
	})
}

// After a step with nothing to do, only a nudge leads to another.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{began: time.Now(), waits: []time.Duration{clock.Idle, clock.Idle}}
		l := clock.System{}.Loop(j.step)
		l.Start()
		time.Sleep(1000 * time.Hour)
		j.want(t, 0)
		l.Nudge()
		j.want(t, 0, 1000*time.Hour)
		l.Nudge()
		j.want(t, 0, 1000*time.Hour, 1000*time.Hour)
	})
}

// A nudge while the step runs is not lost.
func TestNudgeInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := 0
		var l clock.Loop
		l = clock.System{}.Loop(func() (time.Duration, bool) {
			if steps++; steps == 1 {
				l.Nudge()
				l.Nudge()
			}
			return time.Hour, steps < 3
		})
		l.Start()
		time.Sleep(time.Second)
		synctest.Wait()
		if steps != 2 {
			t.Errorf("%d steps, want 2", steps)
		}
		l.Nudge()
		synctest.Wait()
	})
}

func TestSystemTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock.System
		began, at := c.Now(), make(chan time.Time, 1)
		c.AfterFunc(time.Second, func() { at <- c.Now() })
		if d := (<-at).Sub(began); d != time.Second {
			t.Errorf("called after %v, want 1s", d)
		}
	})
}
