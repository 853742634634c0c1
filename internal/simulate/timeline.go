package simulate

import (
	"math/bits"
	"time"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

// kind is what an event is about. Each has a field that says who: see
// world.happen.
type kind uint8

const (
	call         kind = iota // a function of the timeline's own
	connects                 // a client begins a handshake
	arrives                  // its request is at the balancer
	givesUp                  // a client has waited long enough
	served                   // a server has done with the first in its backlog
	answered                 // its answer is at the balancer
	answerMissed             // the balancer has waited long enough for an answer
	knocksAgain              // a connection that found a backlog full
	turnCame                 // a move has the token that it waits for
	moveMissed               // a move has taken too long
	looksAgain               // a session that has lost its server has waited
)

// event is something that happens at a time. Of those at the same time, the
// one that was planned first comes first.
type event struct {
	at   time.Duration // since the beginning
	seq  uint64
	who  int32
	turn uint32 // of who, when it was planned: it may be about something else by now
	kind kind
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// timeline is what is to happen, in its order, and what the time is meanwhile:
// that of the event that happens. It is the clock of the code under
// simulation.
type timeline struct {
	now  time.Duration
	wall time.Time // now, as the code under simulation sees it
	seq  uint64
	heap []event // the children of i are 4i+1 to 4i+4
	// Most events are timeouts that are long forgotten when they come. Those
	// of one length come in the order in which they were planned, and need no
	// heap.
	lanes []lane

	calls []func()
	spare []int32 // of calls
}

type lane struct {
	length time.Duration
	events []event
	first  int
}

// beginning is an arbitrary time: nothing goes by what it is.
var beginning = time.Unix(1_000_000_000, 0)

// plan has something happen at a time, which is not before now.
func (t *timeline) plan(at time.Duration, k kind, who int32, turn uint32) {
	t.push(event{at: max(at, t.now), seq: t.next(), who: who, turn: turn, kind: k})
}

// planAfter is plan for a length of time that comes often. length must be
// more than 0.
func (t *timeline) planAfter(length time.Duration, k kind, who int32, turn uint32) {
	e := event{at: t.now + length, seq: t.next(), who: who, turn: turn, kind: k}
	for i := range t.lanes {
		if l := &t.lanes[i]; l.length == length {
			l.events = append(l.events, e)
			return
		}
	}
	t.lanes = append(t.lanes, lane{length: length, events: []event{e}})
}

// at has f called at a time.
func (t *timeline) at(at time.Duration, f func()) {
	var i int32
	if n := len(t.spare); n > 0 {
		i = t.spare[n-1]
		t.spare = t.spare[:n-1]
		t.calls[i] = f
	} else {
		i = int32(len(t.calls))
		t.calls = append(t.calls, f)
	}
	t.plan(at, call, i, 0)
}

func (t *timeline) next() uint64 {
	t.seq++
	return t.seq
}

// take sets the time to that of the next event up to end, and returns it.
// Calls are made by take itself.
func (t *timeline) take(end time.Duration) (e event, ok bool) {
	for {
		from := -1 // lane, or heap
		var first *event
		if len(t.heap) > 0 {
			first = &t.heap[0]
		}
		for i := range t.lanes {
			if l := &t.lanes[i]; l.first < len(l.events) && (first == nil || l.events[l.first].before(first)) {
				from, first = i, &l.events[l.first]
			}
		}
		if first == nil || first.at > end {
			return event{}, false
		}
		e = *first
		if from >= 0 {
			t.lanes[from].drop()
		} else {
			t.pop()
		}
		if e.at > t.now {
			t.now, t.wall = e.at, beginning.Add(e.at)
		}
		if e.kind != call {
			return e, true
		}
		f := t.calls[e.who]
		t.calls[e.who] = nil
		t.spare = append(t.spare, e.who)
		f()
	}
}

// drop takes out the first.
func (l *lane) drop() {
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

// pop takes out the first.
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

// part is i n-ths of d, with i up to n; d times i may be too much for a Duration.
func part(d time.Duration, i, n int) time.Duration {
	high, low := bits.Mul64(uint64(d), uint64(i))
	q, _ := bits.Div64(high, low, uint64(n))
	return time.Duration(q)
}

// Now implements clock.Clock.
func (t *timeline) Now() time.Time { return t.wall }

// AfterFunc implements clock.Clock.
func (t *timeline) AfterFunc(d time.Duration, f func()) { t.at(t.now+d, f) }

// Loop implements clock.Clock.
func (t *timeline) Loop(step clock.Step) clock.Loop { return &loop{t: t, step: step} }

// loop is a clock.Loop whose steps are events.
type loop struct {
	t       *timeline
	step    clock.Step
	running bool
	plans   uint64 // so many; only the last of them counts
	nudged  bool   // while it makes a step
}

func (l *loop) Start() {
	l.running = true
	l.plan(0)
}

func (l *loop) Nudge() {
	l.nudged = true
	if l.running {
		l.plan(0)
	}
}

func (l *loop) plan(wait time.Duration) {
	l.plans++
	plan := l.plans
	l.t.at(l.t.now+wait, func() {
		if plan == l.plans {
			l.turn()
		}
	})
}

func (l *loop) turn() {
	l.nudged = false
	wait, more := l.step()
	switch {
	case !more:
		l.running = false
		l.plans++
	case !l.nudged && wait != clock.Idle: // else that is planned, or only a Nudge has it go on
		l.plan(wait)
	}
}
