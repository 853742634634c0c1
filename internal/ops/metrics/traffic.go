package metrics

import "github.com/holdfast-ws/holdfast/internal/session"

var (
	messagesDesc = newSeriesDesc("holdfast_messages_total",
		"WebSocket messages relayed.", "direction")
	bytesDesc = newSeriesDesc("holdfast_bytes_total",
		"Bytes of WebSocket frames relayed, including frame headers.", "direction")
)

// traffic is what both sides of the sessions of a series have sent, by
// session.Side. Metrics.refreshing guards it.
type traffic [2]session.Traffic

// meter adds the traffic of one backend to its series.
type meter struct {
	series *series
	seen   traffic // what was already added
}

// add adds what was sent since the last call. The total can be lower than at the
// last call: a pong of the balancer's own pings is subtracted, and an event loop
// may not have answered.
func (m *meter) add(total traffic) {
	for side, now := range total {
		sum, seen := &m.series.traffic[side], &m.seen[side]
		if now.Messages > seen.Messages {
			sum.Messages += now.Messages - seen.Messages
			seen.Messages = now.Messages
		}
		if now.Bytes > seen.Bytes {
			sum.Bytes += now.Bytes - seen.Bytes
			seen.Bytes = now.Bytes
		}
	}
}

func collectTraffic(t *traffic, e emitter) {
	for side, direction := range [2]string{"from_client", "from_backend"} {
		e.counter(messagesDesc, t[side].Messages, direction)
		e.counter(bytesDesc, t[side].Bytes, direction)
	}
}
