package simulate

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

// Events come in order of time, and those of the same time in the order in which they
// were scheduled, by whichever method.
func TestOrderOfEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type planned struct {
			at  time.Duration
			who int32
		}
		var tl timeline
		var want, got []planned
		end := time.Duration(rapid.IntRange(0, 60).Draw(t, "end"))
		next := int32(0)
		plan := func() {
			after := time.Duration(rapid.IntRange(0, 40).Draw(t, "after"))
			p := planned{tl.now + after, next}
			next++
			switch way := rapid.IntRange(0, 2).Draw(t, "way"); {
			case way == 0:
				tl.schedule(p.at, clientConnects, p.who, 0)
			case way == 1 && after > 0:
				tl.scheduleTimeout(after, clientConnects, p.who, 0)
			default:
				tl.callAt(p.at, func() { got = append(got, planned{tl.now, p.who}) })
			}
			if p.at <= end {
				want = append(want, p)
			}
		}
		for range rapid.IntRange(0, 50).Draw(t, "first") {
			plan()
		}
		for {
			e, ok := tl.next(end)
			if !ok {
				break
			}
			got = append(got, planned{tl.now, e.index})
			for range rapid.IntRange(0, 1).Draw(t, "more") {
				plan()
			}
		}
		slices.SortStableFunc(want, func(a, b planned) int { return int(a.at - b.at) })
		if !slices.Equal(got, want) {
			t.Fatalf("came as %v, want %v", got, want)
		}
	})
}

func TestLoop(t *testing.T) {
	var tl timeline
	var at []time.Duration
	waits := []time.Duration{0, time.Second, time.Hour}
	l := tl.Loop(func() (time.Duration, bool) {
		at = append(at, tl.now)
		if len(waits) == 0 {
			return 0, false
		}
		wait := waits[0]
		waits = waits[1:]
		return wait, true
	})
	run := func(end time.Duration) {
		if e, ok := tl.next(end); ok {
			t.Fatalf("an unexpected event: %+v", e)
		}
	}
	l.Nudge()
	run(time.Minute)
	l.Start()
	run(time.Minute)
	tl.callAt(2*time.Minute, l.Nudge)
	run(2 * time.Hour)
	want := []time.Duration{0, 0, time.Second, 2 * time.Minute}
	if !slices.Equal(at, want) {
		t.Errorf("steps at %v, want %v", at, want)
	}
	l.Nudge() // nothing comes of it
	run(3 * time.Hour)

	at, waits = nil, []time.Duration{time.Minute}
	began := tl.now
	l.Start()
	run(began + time.Hour)
	if want := []time.Duration{began, began + time.Minute}; !slices.Equal(at, want) {
		t.Errorf("steps of a loop started again at %v, want %v", at, want)
	}
}

// A step with nothing to do is followed by no other, unless there is a nudge.
func TestIdleLoop(t *testing.T) {
	var tl timeline
	steps := 0
	l := tl.Loop(func() (time.Duration, bool) {
		steps++
		return clock.Idle, true
	})
	l.Start()
	tl.next(1000 * time.Hour)
	if steps != 1 {
		t.Errorf("%d steps, want 1", steps)
	}
	l.Nudge()
	tl.next(1000 * time.Hour)
	if steps != 2 {
		t.Errorf("%d steps after a nudge, want 2", steps)
	}
}

// A nudge during a step makes another one follow at once.
func TestNudgeInStep(t *testing.T) {
	var tl timeline
	steps := 0
	var l *loop
	l = tl.Loop(func() (time.Duration, bool) {
		if steps++; steps == 1 {
			l.Nudge()
		}
		return time.Hour, true
	}).(*loop)
	l.Start()
	tl.next(time.Minute)
	if steps != 2 {
		t.Errorf("%d steps, want 2", steps)
	}
}
