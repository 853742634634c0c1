package top

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// history is what the status was at the last polls, the newest last. The charts are made
// of it.
type history struct {
	samples []sample
}

type sample struct {
	at                       time.Time
	opened, closed, messages float64           // a second
	closes                   map[string]uint64 // since the start, by cause
}

// maxSamples bounds a history: more than a wide terminal shows.
const maxSamples = 240

func (h *history) add(at time.Time, s *api.Status) {
	closes := map[string]uint64{}
	for _, p := range s.Pools {
		for cause, n := range p.Closes {
			closes[cause] += n
		}
	}
	if len(h.samples) >= maxSamples {
		h.samples = h.samples[:copy(h.samples, h.samples[1:])]
	}
	h.samples = append(h.samples, sample{at, s.Rates.Opened, s.Rates.Closed, s.Rates.Messages, closes})
}

// of lists a value of all samples.
func (h *history) of(value func(*sample) float64) []float64 {
	values := make([]float64, len(h.samples))
	for i := range h.samples {
		values[i] = value(&h.samples[i])
	}
	return values
}

// ends lists how many sessions ended a second by a cause, between each two samples.
func (h *history) ends(cause string) (rates []float64) {
	for i := 1; i < len(h.samples); i++ {
		rates = append(rates, between(&h.samples[i-1], &h.samples[i], cause))
	}
	return rates
}

// rateOver is how long the rate of a cause looks back.
const rateOver = 10 * time.Second

// rate is how many sessions ended a second by a cause, over the last seconds.
func (h *history) rate(cause string) float64 {
	n := len(h.samples)
	if n < 2 {
		return 0
	}
	i := n - 2
	for i > 0 && h.samples[n-1].at.Sub(h.samples[i].at) < rateOver {
		i--
	}
	return between(&h.samples[i], &h.samples[n-1], cause)
}

func between(a, b *sample, cause string) float64 {
	seconds := b.at.Sub(a.at).Seconds()
	if seconds <= 0 || b.closes[cause] < a.closes[cause] {
		return 0
	}
	return float64(b.closes[cause]-a.closes[cause]) / seconds
}
