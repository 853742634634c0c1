package ratelimit

import (
	"slices"
	"time"
)

// adaptiveRate derives from the results of a backend's handshakes which part of
// its rate it can take. A handshake that fails or is slow multiplies the factor
// by cutFactor, at most once in cutInterval, since others that were under way
// have the same cause. If there was none for cutInterval, the factor grows by
// recoveryPerSecond.
type adaptiveRate struct {
	factorWhenBad float64   // at lastBad
	lastBad       time.Time // when a handshake last failed or was slow
	lastCut       time.Time // when the factor was last multiplied

	// median estimates the median of the handshakes' times, in seconds. It
	// grows with each that took longer and shrinks with each that took less.
	// Its steps are bounded in time, so that a backend that gets slow counts as
	// slow for a while before that is usual, however many handshakes there are.
	median     float64
	lastSample time.Time // when median was last changed
	samples    int       // in first
	first      [learnSamples]float64
}

const (
	cutFactor         = 0.7
	recoveryPerSecond = 0.1
	minFactor         = 0.1
	cutInterval       = time.Second

	// A handshake is slow if it takes slowRatio times the median, but never if
	// it takes less than minSlow.
	slowRatio = 2
	minSlow   = 100 * time.Millisecond

	// The first learnSamples only set the median. Then each moves it by
	// medianStep, but by medianStepPerSecond in a second at most.
	learnSamples        = 21
	medianStep          = 0.02
	medianStepPerSecond = 0.05
)

func newAdaptiveRate() adaptiveRate { return adaptiveRate{factorWhenBad: 1} }

// factor is the part of the rate that the backend gets now.
func (p *adaptiveRate) factor(now time.Time) float64 {
	quiet := now.Sub(p.lastBad) - cutInterval
	return min(1, p.factorWhenBad+recoveryPerSecond*max(quiet, 0).Seconds())
}

func (p *adaptiveRate) observe(now time.Time, took time.Duration, ok bool) {
	slow := ok && p.samples >= learnSamples && took > minSlow && took.Seconds() > slowRatio*p.median
	if ok {
		p.learn(now, took.Seconds())
	}
	if ok && !slow {
		return
	}
	level := p.factor(now)
	if now.Sub(p.lastCut) >= cutInterval {
		level = max(level*cutFactor, minFactor)
		p.lastCut = now
	}
	p.factorWhenBad, p.lastBad = level, now
}

func (p *adaptiveRate) learn(now time.Time, took float64) {
	if p.samples < learnSamples {
		p.first[p.samples] = took
		if p.samples++; p.samples == learnSamples {
			slices.Sort(p.first[:])
			p.median = p.first[learnSamples/2]
		}
		p.lastSample = now
		return
	}
	by := 1 + min(medianStep, medianStepPerSecond*now.Sub(p.lastSample).Seconds())
	p.lastSample = now
	switch {
	case took > p.median:
		p.median *= by
	case took < p.median:
		p.median /= by
	}
}
