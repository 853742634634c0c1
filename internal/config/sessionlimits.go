package config

import "time"

// SessionLimits bound a live session: what its client sends, and how long a side may be
// slow. A value that is nil or "" was left out; 0 is no bound.
type SessionLimits struct {
	// MaxMessage is in bytes of payload, as they are sent. The highest is what a
	// backend's library may have to hold.
	MaxMessage        *int `key:"max_message" as:"size" range:"0|1..1024MiB"`
	MessagesPerSecond *int `key:"messages_per_second" as:"integer" range:"0..1000000"`
	// BytesPerSecond has a least value, since each read costs about as much as these.
	BytesPerSecond *int `key:"bytes_per_second" as:"size" range:"0|256..1024MiB"`
	// Exceed is what happens to a client that sends more a second.
	Exceed string `key:"exceed" words:"throttle close" zero:"unset"`
	// SlowConsumerTimeout must be longer than a moment without network.
	SlowConsumerTimeout *time.Duration `key:"slow_consumer_timeout" as:"duration" range:"0|1s..24h"`
	Frames              string         `key:"frames" words:"strict pass" zero:"unset"`
}

// DefaultSessionLimits are those of limits that has none.
func DefaultSessionLimits() SessionLimits {
	slow := time.Minute
	return SessionLimits{MaxMessage: new(int), MessagesPerSecond: new(int), BytesPerSecond: new(int),
		Exceed: "throttle", SlowConsumerTimeout: &slow, Frames: "strict"}
}

// paces reports whether there is a rate.
func (l *SessionLimits) paces() bool {
	for _, n := range []*int{l.MessagesPerSecond, l.BytesPerSecond} {
		if n != nil && *n != 0 {
			return true
		}
	}
	return false
}

// exceeds warns of an exceed at p that does nothing. l has the limits that hold there.
func (v *Validator) exceeds(p Path, l *SessionLimits) {
	if at := p.Key("exceed"); v.Given(at) && v.OK(p) && v.OK(at) && !l.paces() {
		v.Warn(at, "exceed does nothing without messages_per_second or bytes_per_second: add one, or leave it out")
	}
}
