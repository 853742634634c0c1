package simulate

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

// kind says what an event is about. event.index is that of a client, an attempt, a
// server or a function: see world.handle.
type kind uint8

const (
	callFunc        kind = iota // a function
	clientConnects              // a client begins a handshake
	requestArrives              // a client's request is at the balancer
	clientGivesUp               // a client has waited long enough
	serverDone                  // a server has done the first handshake in its backlog
	responseArrives             // a server's response is at the balancer
	connectTimeout              // the balancer has waited long enough for a connection
	responseTimeout             // the balancer has waited long enough for a response
	connectRetry                // a connection that found a full backlog tries again
	reservationDue              // a move has its reserved token
	moveTimeout                 // a move has taken too long
	searchAgain                 // a session that has lost its server searches again
)

// event is something that happens at a time. Events of the same time happen in the
// order in which they were scheduled.
type event struct {
	at    time.Duration // since the start
	seq   uint64
	index int32
	gen   uint32 // of what index names, when it was scheduled; if that has changed, the event is outdated
	kind  kind
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// timeline has the events to come, in order, and the current time, which is that of
// the current event. It is the clock.Clock of the simulated code.
type timeline struct {
	now      time.Duration
	wallTime time.Time // now, as the simulated code sees it
	seq      uint64
	heap     []event // the children of i are 4i+1 to 4i+4
	// Most events are timeouts that are outdated when they come. Those of the
	// same length come in the order in which they were scheduled, so they need
	// no heap.
	timeouts []timeoutQueue

	calls     []func()
	freeCalls []int32 // unused indexes of calls
}

type timeoutQueue struct {
	length time.Duration
	events []event
	first  int
}

// startTime is arbitrary: nothing depends on it.
var startTime = time.Unix(1_000_000_000, 0)

// schedule adds an event at a time, which must not be before now.
func (t *timeline) schedule(at time.Duration, k kind, who int32, turn uint32) {
	t.push(event{at: max(at, t.now), seq: t.nextSeq(), index: who, gen: turn, kind: k})
}

// scheduleTimeout is schedule for a length of time that is used often. length must be
// more than 0.
func (t *timeline) scheduleTimeout(length time.Duration, k kind, who int32, turn uint32) {
	e := event{at: t.now + length, seq: t.nextSeq(), index: who, gen: turn, kind: k}
	for i := range t.timeouts {
		if l := &t.timeouts[i]; l.length == length {
			l.events = append(l.events, e)
			return
		}
	}
	t.timeouts = append(t.timeouts, timeoutQueue{length: length, events: []event{e}})
}

// callAt calls f at a time.
func (t *timeline) callAt(at time.Duration, f func()) {
	var i int32
	if n := len(t.freeCalls); n > 0 {
		i = t.freeCalls[n-1]
		t.freeCalls = t.freeCalls[:n-1]
		t.calls[i] = f
	} else {
		i = int32(len(t.calls))
		t.calls = append(t.calls, f)
	}
	t.schedule(at, callFunc, i, 0)
}

func (t *timeline) nextSeq() uint64 {
	t.seq++
	return t.seq
}

// next advances the time to the next event up to end, and returns that event. It calls
// scheduled functions itself.
func (t *timeline) next(end time.Duration) (e event, ok bool) {
	for {
		from := -1 // a timeoutQueue, or -1 for the heap
		var first *event
		if len(t.heap) > 0 {
			first = &t.heap[0]
		}
		for i := range t.timeouts {
			if l := &t.timeouts[i]; l.first < len(l.events) && (first == nil || l.events[l.first].before(first)) {
				from, first = i, &l.events[l.first]
			}
		}
		if first == nil || first.at > end {
			return event{}, false
		}
		e = *first
		if from >= 0 {
			t.timeouts[from].drop()
		} else {
			t.pop()
		}
		if e.at > t.now {
			t.now, t.wallTime = e.at, startTime.Add(e.at)
		}
		if e.kind != callFunc {
			return e, true
		}
		f := t.calls[e.index]
		t.calls[e.index] = nil
		t.freeCalls = append(t.freeCalls, e.index)
		f()
	}
}

// drop removes the first event.
func (l *timeoutQueue) drop() {
	l.first++
	if l.first == len(l.events) {
		l.events, l.first = l.events[:0], 0
	} else if l.first > 1024 && l.first > len(l.events)/2 {
		n := copy(l.events, l.events[l.first:])
		l.events, l.first = l.events[:n], 0
	}
}

func (t *timeline) push(e event) {
	t.heap = append(t.heap, e)
	h, i := t.heap, len(t.heap)-1
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(&h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = e
}

// pop removes the first event.
func (t *timeline) pop() {
	n := len(t.heap) - 1
	e := t.heap[n]
	t.heap = t.heap[:n]
	if n == 0 {
		return
	}
	h, i := t.heap, 0
	for {
		child := 4*i + 1
		if child >= n {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, n); c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if !h[least].before(&e) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = e
}

// Now implements clock.Clock.
func (t *timeline) Now() time.Time { return t.wallTime }

// AfterFunc implements clock.Clock.
func (t *timeline) AfterFunc(d time.Duration, f func()) { t.callAt(t.now+d, f) }

// Loop implements clock.Clock.
func (t *timeline) Loop(step clock.Step) clock.Loop { return &loop{t: t, step: step} }

// loop implements clock.Loop; its steps are events.
type loop struct {
	t         *timeline
	step      clock.Step
	running   bool
	scheduled uint64 // number of calls of schedule; only the last one counts
	nudged    bool   // during a step
}

func (l *loop) Start() {
	l.running = true
	l.schedule(0)
}

func (l *loop) Nudge() {
	l.nudged = true
	if l.running {
		l.schedule(0)
	}
}

func (l *loop) schedule(wait time.Duration) {
	l.scheduled++
	plan := l.scheduled
	l.t.callAt(l.t.now+wait, func() {
		if plan == l.scheduled {
			l.runStep()
		}
	})
}

func (l *loop) runStep() {
	l.nudged = false
	wait, more := l.step()
	switch {
	case !more:
		l.running = false
		l.scheduled++
	case !l.nudged && wait != clock.Idle: // a Nudge has scheduled it already, or only a Nudge will
		l.schedule(wait)
	}
}
