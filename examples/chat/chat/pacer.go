package chat

import "time"

// A page may send messageRate messages a second, messageBurst at once. More
// are not refused: they are read later.
const (
	messageRate  = 5
	messageBurst = 10
)

// pacer spreads events: burst of them at once, rate a second in the long run.
type pacer struct {
	rate, burst float64
	used        float64   // of burst, at the time of the last event
	at          time.Time // of the last event
}

// wait returns when the next event is due, or done is closed.
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
