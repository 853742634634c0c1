package metrics

import (
	"sync/atomic"
	"time"
)

var (
	movesDesc = newSeriesDesc("holdfast_reattach_total",
		"Attempts to move a session to another backend, by the backend it had, reason and result.", "reason", "result")
	gapDesc = newSeriesDesc("holdfast_reattach_gap_seconds",
		"Time for which the client of a moved session was not read.")
	notKeptDesc = newSeriesDesc("holdfast_reattach_not_kept_total",
		"Sessions that can't be moved, because their handshake is too large to be kept.")
)

type moves struct {
	results []atomic.Uint64 // by index in Metrics.moveResults
	gap     histogram
	notKept atomic.Uint64
}

// SessionMoved counts an attempt to move a session from the backend in l. gap is
// the time for which its client was not read; it counts only if moved.
func (m *Metrics) SessionMoved(l Labels, reason, result string, moved bool, gap time.Duration) {
	s := &m.series.get(l).moves
	if i, ok := m.moveResults[[2]string{reason, result}]; ok {
		s.results[i].Add(1)
	}
	if moved {
		s.gap.observe(gap)
	}
}

// SessionNotKept counts a session that can't be moved.
func (m *Metrics) SessionNotKept(l Labels) { m.series.get(l).moves.notKept.Add(1) }

func (m *Metrics) collectMoves(s *moves, e emitter) {
	backend := e.labels[1] != ""
	e.always = false
	for key, i := range m.moveResults {
		e.event(movesDesc, s.results[i].Load(), key[0], key[1])
	}
	e.histogram(gapDesc, &s.gap)
	if backend {
		e.counter(notKeptDesc, s.notKept.Load())
	}
}
