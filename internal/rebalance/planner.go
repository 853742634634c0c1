// Package rebalance evens out the sessions of a pool after a backend has
// joined, come back or grown: what those with more than their fair share have
// too many goes to those that have less, slowly.
package rebalance

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Interval is the time between two steps of a Planner.
const Interval = 500 * time.Millisecond

// ComeBack is Rules.Absence of clients that are told 1012: the IANA registry
// asks them to wait for a random 5 to 30 seconds.
const ComeBack = 30 * time.Second

const (
	// least is how many sessions a backend has to be from its fair share for
	// anything to be done: one more or less is even.
	least = 2
	// settled is for how long nobody is to have anything to give away before
	// a pool counts as even, and for how long a backend is not to have before
	// it stops, while some of its sessions are still leaving.
	settled = 5 * time.Second
	// A pool that stays uneven after all that was over has been given away
	// isn't helped by more of it, as where one backend loses what it gets: it
	// is left alone for a while, which doubles.
	minRest, maxRest = time.Minute, time.Hour
	// maxPause bounds the pause after a step in which no session could be
	// given away: it doubles, from Interval.
	maxPause = 30 * time.Second
)

// Rules say how a pool is rebalanced.
type Rules struct {
	// Above is how far a backend has to be from its fair share, above or
	// below it and as a part of it, for anything to be done.
	Above float64
	// Rate is how many sessions each backend gives away, a second.
	Rate float64
	// MinFit is how many backends must be fit; with fewer nothing is done.
	MinFit int
	// Absence is how long a session that was given away may be with no
	// backend at all, since its client was told to come back. 0 where
	// sessions are moved.
	Absence time.Duration
}

// Planner decides how many sessions the backends of one pool are to give away,
// step by step. It has no clock and asks nobody: all it goes by is what it is
// told.
//
//	       one is too far from its share     for a while nobody is over
//	even ───────────────────────────▶ uneven ─────────────────────▶ even
//	  ▲                                  │
//	  │ time is over, or a               │ as many as were over were given
//	  │ weight has changed               ▼ away, or refused, and it still is
//	  └─────────────────────────────── resting
//
// While it is uneven, each backend above its fair share is a source until it
// has come down to that, once. So nothing is given away that needn't, and small
// ups and downs are not run after.
type Planner struct {
	Rules Rules

	phase   phase
	since   time.Time // when it began
	last    time.Time // step
	busy    time.Time // when there were sources last
	sources map[uint32]source
	weights map[uint32]uint64 // of fit members, when they last changed by more than a little

	expected int       // sessions of the pool, with those that are on their way
	absent   []absence // those given away that may have come nowhere yet
	excess   int       // sessions above fair shares, at the last step
	allowed  int       // that may still be given away
	given    int       // since it was even
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

// source is a member that is giving sessions away.
type source struct {
	may  float64   // sessions, by the time that has passed
	over time.Time // it last had too many
}

// absence is sessions that were given away in the same step.
type absence struct {
	until time.Time
	n     int
}

// State is how the rebalancing of a pool goes.
type State struct {
	Active bool // it is uneven, and that is being mended
	Since  time.Time
	Excess int           // sessions above their backends' fair shares
	Given  int           // sessions given away since it was even
	Rest   time.Duration // it is uneven, and left alone for so long
	Paused bool          // no session could be given away at the last try
}

// State is as of the last Step.
func (p *Planner) State() State {
	s := State{Active: p.phase == uneven, Since: p.since, Excess: p.excess, Given: p.given, Paused: p.pause > 0}
	if p.phase == resting {
		s.Rest = p.rest
	}
	return s
}

// Step returns how many sessions each backend is to give away until the next
// step, by ID; none, most of the time. What came of it is to be told to Gave.
// While State isn't Active, Member.Leaving may be left out.
func (p *Planner) Step(now time.Time, members []Member) map[uint32]int {
	passed := time.Duration(0)
	if !p.last.IsZero() {
		// A step that comes late doesn't make up for all the time.
		passed = min(max(now.Sub(p.last), 0), 2*Interval)
	}
	p.last = now
	goals := p.divide(now, members)
	lacking, far := p.compare(goals)
	if p.weigh(goals) {
		p.allowed = max(p.allowed, p.excess)
		p.rest = 0
	}
	if len(goals) < p.Rules.MinFit {
		lacking = 0
	}
	far = far && lacking > 0
	p.turn(now, far)
	if p.phase != uneven {
		return nil
	}
	return p.give(now, goals, min(lacking, p.allowed), far, passed)
}

// Gave tells how many sessions were given away of those that Step has asked
// for.
func (p *Planner) Gave(now time.Time, n int) {
	p.given += n
	p.allowed -= n
	if n > 0 && p.Rules.Absence > 0 {
		p.absent = append(p.absent, absence{now.Add(p.Rules.Absence), n})
	}
	if n > 0 {
		p.pause = 0
		return
	}
	p.pause = min(max(2*p.pause, Interval), maxPause)
	p.resume = now.Add(p.pause)
}

// weigh reports whether a backend has joined, come back, or changed its weight
// by more than a little.
func (p *Planner) weigh(goals []goal) (news bool) {
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

// compare sums up who has too many: it returns how many sessions others lack
// that are not on their way to them, and whether somebody is far from its fair
// share.
func (p *Planner) compare(goals []goal) (lacking int, far bool) {
	p.excess = 0
	lacking = -p.expected
	for _, g := range goals {
		p.excess += max(g.over(), 0)
		lacking += g.stays() + max(-g.over(), 0)
		off := math.Abs(float64(g.stays()) - g.fair)
		far = far || off >= least && off > p.Rules.Above*g.fair
	}
	return max(lacking, 0), far
}

// turn goes from one phase to the next.
func (p *Planner) turn(now time.Time, far bool) {
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

// give lets sources give away as many sessions as their rate allows and are
// over, most at most together.
func (p *Planner) give(now time.Time, goals []goal, most int, far bool, passed time.Duration) map[uint32]int {
	slices.SortFunc(goals, func(a, b goal) int { return cmp.Or(cmp.Compare(b.over(), a.over()), cmp.Compare(a.ID, b.ID)) })
	more := p.Rules.Rate * passed.Seconds()
	sources := make(map[uint32]source)
	give := make(map[uint32]int)
	none := most <= 0
	for _, g := range goals {
		src, is := p.sources[g.ID]
		switch {
		case g.over() > 0 && (is || far) && !none:
			src.over, p.busy = now, now
		case !is || g.Leaving == 0 || now.Sub(src.over) >= settled:
			continue
		}
		src.may = min(src.may, 1) + more // a part of a session is all that is saved up
		if n := min(int(src.may), g.over(), most); n > 0 && !now.Before(p.resume) {
			give[g.ID] = n
			src.may -= float64(n)
			most -= n
		}
		sources[g.ID] = src
	}
	p.sources = sources
	return give
}

// expect counts the pool's sessions. Those that are leaving may be with two
// backends, one, or none; so the count is what it was before, in between those
// that stay and all there can be.
func (p *Planner) expect(now time.Time, goals []goal) {
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
