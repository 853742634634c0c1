package bench

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Capacity is the highest rate of echoes that a target sustained.
type Capacity struct {
	Target  string
	Rate    float64 // messages a second, one echo being one; 0: not even the lowest tried
	P99     time.Duration
	Limited bool // by the generator or its machine: the next rate up was sent late
	Trials  []Trial
}

// Trial is one rate that was tried.
type Trial struct {
	Rate      float64
	Sustained bool
	P99       time.Duration
	Late      bool // sent late by the generator
}

const (
	defaultTrial = 2 * time.Second
	refinements  = 4 // halvings, of a factor of 2: 2^(1/16), so to 4.4 %
)

// search looks for the highest rate that is sustained: doubling from a start
// until one is not, and then between the last two. Machines have hiccups, so a
// rate has failed only when it did three times.
type search struct {
	low, high float64 // sustained, and not; 0: not known
	rate      float64 // to try next
	failed    int     // how often rate has
	left      int     // tries, once low and high are known
	tried     int
}

func newSearch(start float64) *search { return &search{rate: start, left: refinements + 1} }

const failuresAllowed = 2

// mostTries bounds a search that would go on doubling or halving.
const mostTries = 60

func (s *search) done() bool { return s.left == 0 || s.tried >= mostTries || s.rate < 1 }

func (s *search) result(sustained bool) {
	s.tried++
	if !sustained && s.failed < failuresAllowed {
		s.failed++
		return
	}
	s.failed = 0
	if sustained {
		s.low = s.rate
	} else {
		s.high = s.rate
	}
	switch {
	case s.high == 0:
		s.rate = s.low * 2
	case s.low == 0:
		s.rate = s.high / 2
	default:
		s.rate = math.Sqrt(s.low * s.high)
		s.left--
	}
}

// candidate is what a search is run for.
type candidate struct {
	Capacity
	group   *group
	senders []*session
	search  *search
}

// findCapacity searches for all targets, a trial of each in turn.
func (r *run) findCapacity(ctx context.Context) {
	var all []*candidate
	for _, g := range r.groups {
		if len(g.dialers) > 1 {
			all = append(all, &candidate{Capacity: Capacity{Target: targetOneServer}, group: g, senders: g.ofFirstServer()})
		}
		all = append(all, &candidate{Capacity: Capacity{Target: g.name}, group: g, senders: g.senders()})
	}
	for _, c := range all {
		c.search = newSearch(r.o.Rate)
	}
	for trying := true; trying; {
		trying = false
		for _, c := range all {
			if ctx.Err() != nil || c.search.done() || len(c.senders) == 0 {
				continue
			}
			trying = true
			r.phase(fmt.Sprintf("capacity of %s: trying %.0f/s", c.Target, c.search.rate), 0)
			c.try(ctx)
		}
	}
	for _, c := range all {
		c.Rate = c.search.low
		r.capacity = append(r.capacity, c.Capacity)
	}
}

func (g *group) ofFirstServer() (senders []*session) {
	for _, s := range g.sessions {
		if s.server == 0 {
			senders = append(senders, s)
		}
	}
	return senders
}

// try sends at the search's rate. More than half a second's worth outstanding
// is an overload that needn't be driven further.
func (c *candidate) try(ctx context.Context) {
	rate, d := c.search.rate, c.group.o.Trial
	if d == 0 {
		d = defaultTrial
	}
	dropped := c.group.dropped.Load()
	w := c.group.exchange(ctx, c.senders, rate, d, int64(max(rate/2, 100)))
	if ctx.Err() != nil {
		return
	}
	t := Trial{Rate: rate, P99: w.latency.Quantile(0.99), Late: w.late.Quantile(0.99) > lateLimit}
	t.Sustained = w.lost == 0 && w.unsent.Load() == 0 && dropped == c.group.dropped.Load() &&
		float64(w.sent.Load()) >= 0.99*rate*d.Seconds() && t.P99 <= c.group.o.CapacityP99
	c.Trials = append(c.Trials, t)
	if t.Sustained {
		c.P99 = t.P99
	}
	c.search.result(t.Sustained)
	c.Limited = limited(c.Trials, c.search.low)
}

// limited tells whether the lowest rate above low was sent late each time.
func limited(trials []Trial, low float64) bool {
	next, late := math.Inf(1), false
	for _, t := range trials {
		if t.Sustained || t.Rate <= low || t.Rate > next {
			continue
		}
		if t.Rate < next {
			next, late = t.Rate, true
		}
		late = late && t.Late
	}
	return late
}
