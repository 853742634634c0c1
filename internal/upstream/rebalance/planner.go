// Package rebalance evens out the sessions of a pool after a backend has joined,
// come back or grown: backends with more than their fair share slowly give the
// excess to those that have less.
//
// A Planner decides how many sessions each backend gives away, step by step. The
// Rebalancer runs the planners of all pools and asks the relay to give sessions
// away (see Options). New sessions are balanced by stage/balance; emptying a
// backend is up to upstream/drain.
package rebalance

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Interval is the time between two steps of a Planner.
const Interval = 500 * time.Millisecond

// ServiceRestartDelay is Rules.ReconnectTime for clients that get close code 1012:
// the IANA registry asks them to wait for a random 5 to 30 seconds.
const ServiceRestartDelay = 30 * time.Second

const (
	// least is how many sessions a backend must be from its fair share for
	// anything to be done: a difference of one counts as even.
	least = 2
	// settled is how long there must be no excess before a pool counts as
	// even, and before a backend stops giving while some of its sessions are
	// still leaving.
	settled = 5 * time.Second
	// If a pool stays uneven after its whole excess was given away, giving
	// away more doesn't help: perhaps one backend loses what it gets. Then
	// nothing is done for a while, which doubles each time.
	minRest, maxRest = time.Minute, time.Hour
	// maxPause bounds the pause after a step in which no session could be
	// given away. It starts at Interval and doubles.
	maxPause = 30 * time.Second
)

// Rules says how a pool is rebalanced.
type Rules struct {
	// Above is how far a backend must be from its fair share, as a fraction of
	// it, for anything to be done.
	Above float64
	// Rate is how many sessions each backend gives away per second.
	Rate float64
	// MinAvailable is how many backends must be available. With fewer, nothing is done.
	MinAvailable int
	// ReconnectTime is how long a session that was given away may have no
	// backend, while its client waits to reconnect. 0 if sessions are moved.
	ReconnectTime time.Duration
}

// Planner decides how many sessions the backends of one pool give away, step by
// step. It is a pure state machine without a clock.
//
//	       one is far from its share         no excess for a while
//	even ───────────────────────────▶ uneven ─────────────────────▶ even
//	  ▲                                  │
//	  │ time is over, or a               │ the whole excess was given away or
//	  │ weight has changed               ▼ refused, and it is still uneven
//	  └─────────────────────────────── resting
//
// While a pool is uneven, each backend above its fair share is a source until it
// has once come down to that share. So only the excess is given away, and small
// fluctuations are ignored.
type Planner struct {
	Rules Rules

	phase   phase
	since   time.Time // when phase began
	last    time.Time // when Step was last called
	busy    time.Time // when there were last sources
	sources map[uint32]source
	weights map[uint32]uint64 // of available members, when they last changed significantly

	expected int       // sessions of the pool, including those between backends
	absent   []absence // given away, and perhaps not back yet
	excess   int       // sessions above fair shares, at the last step
	allowed  int       // how many may still be given away
	given    int       // since the pool was even
	rest     time.Duration
	pause    time.Duration
	resume   time.Time // when pause ends
}

type phase uint8

const (
	even phase = iota
	uneven
	resting
)

// source is a member that gives sessions away.
type source struct {
	allowance  float64   // sessions that the elapsed time allows
	lastExcess time.Time // when it last had an excess
}

// absence is the sessions that were given away in one step.
type absence struct {
	until time.Time
	n     int
}

// State describes the rebalancing of a pool.
type State struct {
	Active bool // the pool is uneven, and being rebalanced
	Since  time.Time
	Excess int           // sessions above their backends' fair shares
	Given  int           // sessions given away since the pool was even
	Rest   time.Duration // if not 0, the pool is uneven and nothing is done for this long
	Paused bool          // no session could be given away at the last attempt
}

// State returns the state after the last Step.
func (p *Planner) State() State {
	s := State{Active: p.phase == uneven, Since: p.since, Excess: p.excess, Given: p.given, Paused: p.pause > 0}
	if p.phase == resting {
		s.Rest = p.rest
	}
	return s
}

// Step returns how many sessions each backend should give away until the next step,
// by ID; usually none. The caller reports the outcome to RecordGiven.
// Member.Leaving isn't needed while State isn't Active.
func (p *Planner) Step(now time.Time, members []Member) map[uint32]int {
	passed := time.Duration(0)
	if !p.last.IsZero() {
		// A late step doesn't make up for all the elapsed time.
		passed = min(max(now.Sub(p.last), 0), 2*Interval)
	}
	p.last = now
	goals := p.computeGoals(now, members)
	lacking, far := p.sumUp(goals)
	if p.weightsChanged(goals) {
		p.allowed = max(p.allowed, p.excess)
		p.rest = 0
	}
	if len(goals) < p.Rules.MinAvailable {
		lacking = 0
	}
	far = far && lacking > 0
	p.advance(now, far)
	if p.phase != uneven {
		return nil
	}
	return p.give(now, goals, min(lacking, p.allowed), far, passed)
}

// RecordGiven records how many sessions were given away of those that Step asked
// for.
func (p *Planner) RecordGiven(now time.Time, n int) {
	p.given += n
	p.allowed -= n
	if n > 0 && p.Rules.ReconnectTime > 0 {
		p.absent = append(p.absent, absence{now.Add(p.Rules.ReconnectTime), n})
	}
	if n > 0 {
		p.pause = 0
		return
	}
	p.pause = min(max(2*p.pause, Interval), maxPause)
	p.resume = now.Add(p.pause)
}

// weightsChanged reports whether a backend has joined, come back, or significantly
// changed its weight.
func (p *Planner) weightsChanged(goals []goal) (news bool) {
	weights := make(map[uint32]uint64, len(goals))
	for _, g := range goals {
		before, now := p.weights[g.ID], g.Weight
		weights[g.ID] = before
		if math.Abs(float64(now)-float64(before)) > p.Rules.Above*float64(before) {
			weights[g.ID], news = now, true
		}
	}
	p.weights = weights
	return news
}

// sumUp computes the excess. It returns how many sessions other backends lack that
// aren't on their way to them, and whether some backend is far from its fair share.
func (p *Planner) sumUp(goals []goal) (lacking int, far bool) {
	p.excess = 0
	lacking = -p.expected
	for _, g := range goals {
		p.excess += max(g.excess(), 0)
		lacking += g.stays() + max(-g.excess(), 0)
		off := math.Abs(float64(g.stays()) - g.share)
		far = far || off >= least && off > p.Rules.Above*g.share
	}
	return max(lacking, 0), far
}

// advance changes the phase.
func (p *Planner) advance(now time.Time, far bool) {
	before := p.phase
	if p.phase == resting && (p.rest == 0 || now.Sub(p.since) >= p.rest) {
		p.phase = even
	}
	switch {
	case p.phase == even && far:
		p.phase = uneven
		p.allowed, p.given, p.busy = p.excess, 0, now
		p.pause, p.resume = 0, now
	case p.phase == uneven && len(p.sources) == 0 && now.Sub(p.busy) >= settled && len(p.absent) == 0:
		if p.phase = even; far && p.allowed <= 0 {
			p.phase = resting
			p.rest = min(max(2*p.rest, minRest), maxRest)
		} else {
			p.rest = 0
		}
	}
	if p.phase != before {
		p.since = now
	}
}

// give lets sources give away their excess at their rate, at most most sessions
// together.
func (p *Planner) give(now time.Time, goals []goal, most int, far bool, passed time.Duration) map[uint32]int {
	slices.SortFunc(goals, func(a, b goal) int { return cmp.Or(cmp.Compare(b.excess(), a.excess()), cmp.Compare(a.ID, b.ID)) })
	more := p.Rules.Rate * passed.Seconds()
	sources := make(map[uint32]source)
	give := make(map[uint32]int)
	none := most <= 0
	for _, g := range goals {
		src, is := p.sources[g.ID]
		switch {
		case g.excess() > 0 && (is || far) && !none:
			src.lastExcess, p.busy = now, now
		case !is || g.Leaving == 0 || now.Sub(src.lastExcess) >= settled:
			continue
		}
		src.allowance = min(src.allowance, 1) + more // at most one session is saved up
		if n := min(int(src.allowance), g.excess(), most); n > 0 && !now.Before(p.resume) {
			give[g.ID] = n
			src.allowance -= float64(n)
			most -= n
		}
		sources[g.ID] = src
	}
	p.sources = sources
	return give
}

// countSessions updates the number of the pool's sessions. A session that is leaving
// may count at two backends, at one, or at none. So the number stays what it was,
// within what is possible now.
func (p *Planner) countSessions(now time.Time, goals []goal) {
	p.absent = slices.DeleteFunc(p.absent, func(a absence) bool { return !now.Before(a.until) })
	stay, more := 0, 0
	for _, g := range goals {
		stay += g.stays()
		more += g.Leaving
	}
	for _, a := range p.absent {
		more += a.n
	}
	if p.expected = min(max(p.expected, stay), stay+more); p.expected == stay {
		p.absent = nil // they are back
	}
}
