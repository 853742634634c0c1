package conformance

import (
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/doctor/protocol"
)

// fault is a kind of fault.
type fault int

const (
	ended       fault = iota // a session ended, or the server sent what it mustn't
	stale                    // the server knows an older state of the session
	lost                     // a message didn't arrive
	doubled                  // a message arrived twice
	reordered                // a message arrived after a later one
	unanswered               // a message of the client wasn't answered
	unconfirmed              // the client's answer to a message of the server didn't arrive
	faults
)

// faultWords name one fault, and several, in findings.
var faultWords = [faults][2]string{
	ended: {"end of a session", "ends of sessions"}, stale: {"return to an older state", "returns to an older state"},
	lost: {"message lost", "messages lost"}, doubled: {"message doubled", "messages doubled"}, reordered: {"message out of order", "messages out of order"},
	unanswered: {"message without an answer", "messages without an answer"}, unconfirmed: {"confirmation lost", "confirmations lost"},
}

// muchOlder is by how much a server must count events again to have an older state,
// instead of repeating some.
const muchOlder = 10

// noted are the faults of one kind in one phase.
type noted struct {
	count int
	first string // what the first was
}

// tally counts faults by phase.
type tally struct {
	mu       sync.Mutex
	phase    string
	lenient  bool                        // in a loss: what was on its way may be lost or come twice
	found    map[string]map[fault]*noted // by phase
	forgiven map[fault]int
	rude     bool // a server began a new session instead of continuing one
}

func newTally() *tally {
	return &tally{found: map[string]map[fault]*noted{}, forgiven: map[fault]int{}}
}

// enter begins a phase.
func (t *tally) enter(phase string, lenient bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase, t.lenient = phase, lenient
}

func (t *tally) add(f fault, n int, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lenient && f != ended && f != stale {
		t.forgiven[f] += n
		return
	}
	of := t.found[t.phase]
	if of == nil {
		of = map[fault]*noted{}
		t.found[t.phase] = of
	}
	if of[f] == nil {
		of[f] = &noted{first: fmt.Sprintf(format, args...)}
	}
	of[f].count += n
}

// retract takes back a message that was counted as lost in this phase.
func (t *tally) retract() {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.found[t.phase]
	switch f := of[lost]; {
	case t.lenient:
		t.forgiven[lost]--
	case f == nil:
	case f.count == 1:
		delete(of, lost)
	default:
		f.count--
	}
}

// sequence follows numbers that should be 1, 2, 3 and so on.
type sequence struct {
	last    int
	floor   int // lower numbers are ignored
	missing map[int]bool
}

// take takes a number. skipped is how many were left out before it; again says that it
// came before, late that it was missing.
func (s *sequence) take(n int) (skipped int, again, late bool) {
	switch {
	case n <= s.floor:
	case s.missing[n]:
		delete(s.missing, n)
		late = true
	case n <= s.last:
		again = true
	default:
		for i := max(s.last, s.floor) + 1; i < n && len(s.missing) < maxMissing; i++ {
			if s.missing == nil {
				s.missing = map[int]bool{}
			}
			s.missing[i] = true
			skipped++
		}
		s.last = n
	}
	return skipped, again, late
}

// restart ignores all numbers up to floor from now on.
func (s *sequence) restart(floor int) { s.floor, s.last, s.missing = floor, max(s.last, floor), nil }

// maxMissing bounds what is kept for a server that counts wildly.
const maxMissing = 1000

// ledger has what one client sent and received.
type ledger struct {
	tally *tally
	name  string
	// oldState is how old the state of a session may be after a loss: servers may store
	// it now and then instead of after every message.
	oldState time.Duration

	mu          sync.Mutex
	asked       int               // number of the last message
	open        map[int]time.Time // those without an answer, and when they were sent
	events      sequence
	unconfirmed map[int]time.Time
	told        map[string]*sequence // by sender
	heard       time.Time            // when the last message arrived
	silence     time.Duration        // longest time without one since the last call of takeSilence
	marks       []mark               // of the last seconds

	// Of a loss:
	safe    mark // what the state must have at least
	lostAt  int  // asked, when the connection was lost
	resumed int  // the first message after that which was answered; 0 for none
	// forgivenTo has the last numbers for which answers may still come, although nobody
	// waits for them.
	forgivenTo mark
}

// mark says how far a session was at a time.
type mark struct {
	at              time.Time
	answered, event int
}

func newLedger(t *tally, name string, oldState time.Duration) *ledger {
	return &ledger{tally: t, name: name, oldState: oldState, open: map[int]time.Time{}, unconfirmed: map[int]time.Time{}, told: map[string]*sequence{}}
}

// ask returns the number of the next message of the client.
func (l *ledger) ask(now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	l.open[l.asked] = now
	return l.asked
}

// receive records a message.
func (l *ledger) receive(m protocol.Message, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.heard.IsZero() {
		l.silence = max(l.silence, now.Sub(l.heard))
	}
	l.heard = now
	switch m.Kind {
	case protocol.Answer:
		l.answer(m, now)
	case protocol.Event:
		l.event(m.N, now)
	case protocol.Confirmed:
		if _, ok := l.unconfirmed[m.N]; !ok && m.N > l.forgivenTo.event {
			l.tally.add(doubled, 1, "the confirmation of event %d of %s arrived twice", m.N, l.name)
		}
		delete(l.unconfirmed, m.N)
	case protocol.Told:
		l.tell(m)
	}
}

func (l *ledger) answer(m protocol.Message, now time.Time) {
	if _, ok := l.open[m.N]; !ok {
		if m.N > l.forgivenTo.answered {
			l.tally.add(doubled, 1, "message %d of %s was answered twice", m.N, l.name)
		}
		return
	}
	delete(l.open, m.N)
	if m.N > l.lostAt && l.resumed == 0 {
		l.resumed = m.N
	}
	l.mark(now, m.N)
	switch before := m.N - 1; {
	case m.Last == before:
	case m.Last == m.N:
		l.tally.add(doubled, 1, "the server got message %d of %s twice", m.N, l.name)
	case m.Last > m.N:
		l.tally.add(reordered, 1, "the server got message %d of %s after %d", m.N, l.name, m.Last)
	case m.Last < l.safe.answered, l.anyAnswered(m.Last+1, before) && !l.tally.isLenient():
		l.tally.add(stale, 1, "for the server that answered message %d of %s, the one before was %d", m.N, l.name, m.Last)
	default:
		l.tally.add(lost, before-m.Last, "the server got message %d of %s right after %d", m.N, l.name, m.Last)
	}
}

func (t *tally) isLenient() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lenient
}

// anyAnswered reports whether one of the client's messages from first to last was
// answered.
func (l *ledger) anyAnswered(first, last int) bool {
	for n := max(first, 1); n <= last; n++ {
		if _, open := l.open[n]; !open {
			return true
		}
	}
	return false
}

func (l *ledger) event(n int, now time.Time) {
	skipped, again, late := l.events.take(n)
	switch {
	case again && (n == 1 || n <= l.safe.event || n+muchOlder <= l.events.last && !l.tally.isLenient()):
		l.tally.add(stale, 1, "event %d of the server came to %s again, after %d", n, l.name, l.events.last)
		l.events, again = sequence{last: n}, false // it goes on from there
	case again:
		l.tally.add(doubled, 1, "event %d of the server came to %s twice", n, l.name)
	case late:
		l.tally.retract()
		l.tally.add(reordered, 1, "event %d of the server came to %s after %d", n, l.name, l.events.last)
	case skipped > 0:
		l.tally.add(lost, skipped, "event %d of the server came to %s after %d", n, l.name, n-skipped-1)
	}
	if !again {
		l.unconfirmed[n] = now
	}
	l.mark(now, 0)
}

// tell records a message to a room. Their order isn't checked, since servers that share a
// room needn't agree on it; those that are missing are found by missingTold.
func (l *ledger) tell(m protocol.Message) {
	s := l.told[m.From]
	if s == nil {
		s = &sequence{floor: m.N - 1} // it may have been told before this client came
		l.told[m.From] = s
	}
	if _, again, _ := s.take(m.N); again {
		l.tally.add(doubled, 1, "message %d of %s to the room came to %s twice", m.N, m.From, l.name)
	}
}

// mark remembers how far the session is.
func (l *ledger) mark(now time.Time, answered int) {
	if n := len(l.marks); n > 0 {
		answered = max(answered, l.marks[n-1].answered)
		if now.Sub(l.marks[n-1].at) < l.oldState/20 {
			l.marks[n-1].answered, l.marks[n-1].event = answered, l.events.last
			return
		}
	}
	l.marks = append(l.marks, mark{now, answered, l.events.last})
	if len(l.marks) > 200 {
		l.marks = l.marks[100:]
	}
}

// lose is called right before the session's server is lost.
func (l *ledger) lose(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.safe = mark{}
	for _, m := range l.marks {
		if now.Sub(m.at) >= l.oldState {
			l.safe = m
		}
	}
}

// gone is called when it is lost. Until then it may have answered.
func (l *ledger) gone() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lostAt, l.resumed = l.asked, 0
}

// isResumed reports whether the session has continued after a loss.
func (l *ledger) isResumed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resumed > 0
}
