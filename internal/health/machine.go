package health

import "github.com/holdfast-ws/holdfast/internal/pool"

// verdict is what one check came to.
type verdict uint8

const (
	failed verdict = iota
	passed
	drains // it answered 503: no more sessions, please
)

// finding is a verdict and what it rests on.
type finding struct {
	verdict verdict
	reason  string
	// decisive findings count as many as are needed. An agent's word is one:
	// it has looked for itself.
	decisive bool
}

// machine turns the findings about one backend into its state. It knows no
// clock and does nothing by itself.
//
//	       all pass             all passed Rise times
//	Down ────────────▶ Warming ───────────────────────▶ Up
//	                    │   ▲                          │ ▲
//	                503 │   │ all pass             503 │ │ all passed Rise times
//	                    ▼   │                          ▼ │
//	              Draining, cold                     Draining
//
// One kind that failed Fall times in a row leads to Down from each of them.
// The first check ever of a backend takes it Down when it fails, without
// waiting for Fall: nothing speaks for it yet. A 503 of one that is Down leaves
// it there.
type machine struct {
	fall, rise int
	state      pool.Operational
	// cold tells that it was Down or Warming and has not been Up since. From
	// Draining it goes back to Warming then, and so gets its slow start: many
	// servers answer 503 while they start.
	cold  bool
	kinds [kinds]tally
}

// tally is what is known of one kind of check. Both counts stop at what is
// needed of them.
type tally struct {
	fresh            bool // no finding yet, and none of the backend before
	passes, failures int  // in a row
}

// newMachine begins in the given state. fresh tells that the backend was never
// checked.
func newMachine(s Spec, state pool.Operational, fresh bool) machine {
	m := machine{fall: s.Fall, rise: s.Rise, state: state, cold: state == pool.Warming || state == pool.Down}
	for k := range m.kinds {
		if s.has(kind(k)) && kind(k) != kindAgent {
			m.kinds[k].fresh = fresh
		} else {
			// One that isn't there stands in nobody's way, nor does an
			// agent before it has said a word.
			m.kinds[k].passes = s.Rise
		}
	}
	return m
}

// observe takes a finding. It reports whether the state has changed by it.
func (m *machine) observe(k kind, f finding) (changed bool) {
	t := &m.kinds[k]
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

func (m *machine) next(t *tally, v verdict) pool.Operational {
	least := m.rise // of the kinds' passes
	for i := range m.kinds {
		least = min(least, m.kinds[i].passes)
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
