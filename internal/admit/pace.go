package admit

import (
	"slices"
	"time"
)

// pace is what a backend's own handshakes say of the rate it can take. It
// falls to slower of itself when one fails or is slow, at most once in
// restraint, since the others that were under way tell the same tale; after
// as long without such a one it rises again, by faster of the rate a second.
type pace struct {
	level  float64   // when bad
	bad    time.Time // when a handshake failed or was slow last
	fallen time.Time // when level fell last

	// usual follows the median of the handshakes' times, in seconds: up with
	// each that took longer, down with each that took less. Its steps are
	// bounded in time, so that a backend that gets slow is slow for a while
	// before that is the usual thing, however many handshakes there are.
	usual   float64
	told    time.Time // when usual moved last
	samples int       // of first
	first   [learning]float64
}

const (
	slower    = 0.7
	faster    = 0.1
	least     = 0.1
	restraint = time.Second

	// A handshake is slow that takes slowTimes as long as usual, but never
	// one that takes less than never.
	slowTimes = 2
	never     = 100 * time.Millisecond

	// The first samples only find out what is usual; then it moves by step
	// with each, and by stepASec in a second at most.
	learning = 21
	step     = 0.02
	stepASec = 0.05
)

func newPace() pace { return pace{level: 1} }

// part is of the rate.
func (p *pace) part(now time.Time) float64 {
	quiet := now.Sub(p.bad) - restraint
	return min(1, p.level+faster*max(quiet, 0).Seconds())
}

func (p *pace) done(now time.Time, took time.Duration, ok bool) {
	slow := ok && p.samples >= learning && took > never && took.Seconds() > slowTimes*p.usual
	if ok {
		p.learn(now, took.Seconds())
	}
	if ok && !slow {
		return
	}
	level := p.part(now)
	if now.Sub(p.fallen) >= restraint {
		level = max(level*slower, least)
		p.fallen = now
	}
	p.level, p.bad = level, now
}

func (p *pace) learn(now time.Time, took float64) {
	if p.samples < learning {
		p.first[p.samples] = took
		if p.samples++; p.samples == learning {
			slices.Sort(p.first[:])
			p.usual = p.first[learning/2]
		}
		p.told = now
		return
	}
	by := 1 + min(step, stepASec*now.Sub(p.told).Seconds())
	p.told = now
	switch {
	case took > p.usual:
		p.usual *= by
	case took < p.usual:
		p.usual /= by
	}
}
