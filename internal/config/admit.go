package config

import (
	"time"

	"go.yaml.in/yaml/v4"
)

// Admit bounds how fast a pool's backends get handshakes. Those above it wait
// in one queue for the whole pool.
type Admit struct {
	Rate  float64 // handshakes a second and backend, 1/3600 to 1,000,000
	Burst int     // how many a backend may get at once, 1 to 1,000,000
	// Queue is how many may wait, 0 to 1,000,000. With 0, what is above Rate is
	// refused.
	Queue        int
	QueueTimeout time.Duration // of waiting, more than 0 and at most an hour
	// Ramp is how long the rate of a backend that joins or returns takes to
	// grow up to Rate, at most an hour. 0 is no time at all.
	Ramp time.Duration
}

const (
	maxBurst        = 1_000_000
	maxQueue        = 1_000_000
	maxQueueTimeout = time.Hour
	maxRamp         = time.Hour
)

type admitDraft struct {
	Admit
	queueTimeout place
}

func readAdmit(d *decoder, n *yaml.Node, p *poolDraft) {
	a := admitDraft{Admit: Admit{Queue: 5000, QueueTimeout: 30 * time.Second, Ramp: 30 * time.Second}}
	readMapping(d, n, "a mapping with rate", d.at(n), admitKeys, &a)
	if a.Burst == 0 {
		a.Burst = max(1, int(a.Rate/4))
	}
	if a.Queue == 0 && a.queueTimeout != (place{}) {
		d.warn(a.queueTimeout, "queue_timeout does nothing with queue: 0, where nobody waits: leave it out")
	}
	p.admit = &a.Admit
}

var admitKeys = []key[admitDraft]{
	{name: "rate", missing: "it isn't said how many handshakes each backend may get: write for example rate: 200/s", read: func(d *decoder, n *yaml.Node, a *admitDraft) {
		d.rate(n, &a.Rate)
	}},
	{name: "burst", read: func(d *decoder, n *yaml.Node, a *admitDraft) {
		d.integer(n, &a.Burst, 1, maxBurst)
	}},
	{name: "queue", read: func(d *decoder, n *yaml.Node, a *admitDraft) {
		d.integer(n, &a.Queue, 0, maxQueue)
	}},
	{name: "queue_timeout", read: func(d *decoder, n *yaml.Node, a *admitDraft) {
		a.queueTimeout = d.at(n)
		d.durationWithin(n, &a.QueueTimeout, false, minDuration, maxQueueTimeout)
	}},
	{name: "ramp", read: func(d *decoder, n *yaml.Node, a *admitDraft) {
		d.durationWithin(n, &a.Ramp, true, minDuration, maxRamp)
	}},
}
