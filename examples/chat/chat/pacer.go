package chat

import "time"

// A page may send messageRate messages per second, and messageBurst at once. The
// server delays reading the excess; it doesn't refuse it.
const (
	messageRate  = 5
	messageBurst = 10
)

// pacer limits the rate of events: rate per second on average, and burst at once.
type pacer struct {
	rate, burst float64
	used        float64   // part of burst in use after the last event
	at          time.Time // time of the last event
}

// wait waits until the next event may happen, or done is closed.
func (p *pacer) wait(done <-chan struct{}) {
	now := time.Now()
	p.used = max(0, p.used-now.Sub(p.at).Seconds()*p.rate) + 1
	p.at = now
	if p.used <= p.burst {
		return
	}
	select {
	case <-time.After(time.Duration((p.used - p.burst) / p.rate * float64(time.Second))):
	case <-done:
	}
}
