package bench

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Capacity is the highest rate of echoes that a target has sustained.
type Capacity struct {
	Target  string
	Rate    float64 // echoes per second; 0 if the target didn't sustain the lowest rate tried
	P99     time.Duration
	Limited bool // limited by the generator or its machine, which sent the next higher rate late
	Trials  []Trial
}

// Trial is the result of one rate.
type Trial struct {
	Rate      float64
	Sustained bool
	P99       time.Duration
	Late      bool // sent late by the generator
}

const (
	defaultTrial = 2 * time.Second
	refinements  = 4 // number of times the interval is halved: 2^(1/16), so the result is within 4.4 %
)

// search finds the highest sustained rate. It doubles the rate until it isn't
// sustained, and then searches between the last two rates. A rate fails only after
// three failed trials, because machines have short stalls.
type search struct {
	low, high float64 // sustained and not sustained; 0 if unknown
	rate      float64 // to try next
	failed    int     // number of failed trials of rate
	remaining int     // number of refinements left once low and high are known
	tried     int
}

func newSearch(start float64) *search { return &search{rate: start, remaining: refinements + 1} }

const maxFailures = 2

// maxTrials limits a search that would double or halve forever.
const maxTrials = 60

func (s *search) done() bool { return s.remaining == 0 || s.tried >= maxTrials || s.rate < 1 }

func (s *search) result(sustained bool) {
	s.tried++
	if !sustained && s.failed < maxFailures {
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
		s.remaining--
	}
}

// candidate is a target whose capacity is searched.
type candidate struct {
	Capacity
	group   *group
	senders []*session
	search  *search
}

// findCapacity searches for the capacity of all targets, with one trial of each in
// turn.
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

// try runs a trial. It ends the trial early if the answers of more than half a
// second are outstanding, which is a clear overload.
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

// limited reports whether the lowest rate above low was sent late in all trials.
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
