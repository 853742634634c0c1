package health

import "github.com/holdfast-ws/holdfast/internal/upstream/pool"

// verdict is the outcome of one check.
type verdict uint8

const (
	failed verdict = iota
	passed
	drains // it answered 503: it takes no more sessions
)

// finding is a verdict with its reason.
type finding struct {
	verdict verdict
	reason  string
	// decisive findings count at once, without Rise and Fall. Those of an
	// agent are: it has checked for itself.
	decisive bool
}

// stateMachine derives the state of one backend from the findings of its checks. It
// has no clock.
//
//	       all pass             all passed Rise times
//	Down ────────────▶ Warming ───────────────────────▶ Up
//	                    │   ▲                          │ ▲
//	                503 │   │ all pass             503 │ │ all passed Rise times
//	                    ▼   │                          ▼ │
//	              Draining, cold                     Draining
//
// From each state, one check that has failed Fall times in a row leads to Down. The
// very first check of a backend leads to Down if it fails, without waiting for
// Fall. A 503 of a backend that is Down changes nothing.
type stateMachine struct {
	fall, rise int
	state      pool.Operational
	// cold says that it was Down or Warming and has not been Up since. Then it
	// goes from Draining back to Warming, and so gets its slow start: many
	// servers answer 503 while they start.
	cold     bool
	counters []counter // of Spec.Checks
}

// counter counts the findings of one check, up to what is needed.
type counter struct {
	fresh            bool // there is no finding yet, and the backend had none before
	passes, failures int  // in a row
}

// newStateMachine starts in the given state. fresh says that the backend was never
// checked.
func newStateMachine(s Spec, state pool.Operational, fresh bool) stateMachine {
	m := stateMachine{
		fall: s.Fall, rise: s.Rise, state: state, cold: state == pool.Warming || state == pool.Down,
		counters: make([]counter, len(s.Checks)),
	}
	for i, c := range s.Checks {
		if _, ok := c.(Agent); ok {
			m.counters[i].passes = s.Rise // before its first reply
		} else {
			m.counters[i].fresh = fresh
		}
	}
	return m
}

// observe adds a finding of Spec.Checks[i] and reports whether the state has changed.
func (m *stateMachine) observe(i int, f finding) (changed bool) {
	t := &m.counters[i]
	switch f.verdict {
	case passed:
		t.failures, t.passes = 0, min(t.passes+1, m.rise)
		if f.decisive {
			t.passes = m.rise
		}
	case failed:
		t.passes, t.failures = 0, min(t.failures+1, m.fall)
		if f.decisive || t.fresh {
			t.failures = m.fall
		}
	case drains:
		t.passes, t.failures = 0, 0
	}
	t.fresh = false

	before := m.state
	m.state = m.next(t, f.verdict)
	switch m.state {
	case pool.Up:
		m.cold = false
	case pool.Warming, pool.Down:
		m.cold = true
	}
	return m.state != before
}

func (m *stateMachine) next(t *counter, v verdict) pool.Operational {
	least := m.rise // passes among all checks
	for i := range m.counters {
		least = min(least, m.counters[i].passes)
	}
	switch {
	case t.failures >= m.fall:
		return pool.Down
	case v == drains && m.state != pool.Down:
		return pool.Draining
	case m.state == pool.Up || least == 0:
		return m.state
	case m.state == pool.Draining && m.cold:
		return pool.Warming
	case least == m.rise:
		return pool.Up
	case m.state == pool.Down:
		return pool.Warming
	}
	return m.state
}
