package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Health says how a pool finds out which of its backends are well. HTTP,
// WebSocket, TCP and Agent are active checks, which all must pass; without any
// of them, only what becomes of handshakes counts.
type Health struct {
	HTTP      *HTTPCheck      // nil: none
	WebSocket *WebSocketCheck // nil: none
	TCP       bool            // a connection can be opened
	Agent     *AgentCheck     // nil: none

	Interval time.Duration // between two checks of a backend, more than Timeout
	Timeout  time.Duration // of one check, more than 0
	Fall     int           // failures in a row until a backend is down, 1 to 100
	Rise     int           // passes in a row until it is up again, 1 to 100

	// MaxFails is how many handshakes may fail in a row before a backend gets
	// none for FailTimeout; 0 is off, 1000 the most.
	MaxFails    int
	FailTimeout time.Duration // more than 0

	// At most one of MinHealthy and MinHealthyPercent is not 0. When fewer
	// backends than that, or less of the pool, are well, health is ignored.
	MinHealthy        int // 0 to 10000
	MinHealthyPercent int // 0 to 100
	// SlowStart is how long a backend that joins or returns takes to get its
	// full share, at most an hour. 0 is no time at all.
	SlowStart time.Duration
}

const (
	maxRow       = 100 // of fall and rise
	maxFails     = 1000
	maxSlowStart = time.Hour
)

type healthDraft struct {
	Health
	interval, timeout located[time.Duration]
	minHealthy        located[healthy]
	// forChecks are the keys that were given of those that active checks use.
	forChecks []located[string]
}

func newHealthDraft() healthDraft {
	return healthDraft{
		Health:   Health{Fall: 3, Rise: 2, MaxFails: 3, FailTimeout: 30 * time.Second},
		interval: located[time.Duration]{value: 10 * time.Second, ok: true},
		timeout:  located[time.Duration]{value: 2 * time.Second, ok: true},
	}
}

// settings is what was read.
func (h healthDraft) settings() Health {
	s := h.Health
	s.Interval, s.Timeout = h.interval.value, h.timeout.value
	s.MinHealthy, s.MinHealthyPercent = h.minHealthy.value.count, h.minHealthy.value.percent
	return s
}

func readHealth(d *decoder, n *yaml.Node, p *poolDraft) {
	h := &p.health
	misspelt, _ := readMapping(d, n, "a mapping of checks and of what follows from them", d.at(n), healthKeys, h)
	if h.HTTP == nil && h.WebSocket == nil && !h.TCP && h.Agent == nil {
		for _, key := range h.forChecks {
			d.warn(key.at, "%s does nothing without a check: add http, websocket, tcp or agent, or leave it out", key.value)
		}
	}
	if !h.interval.ok || !h.timeout.ok || h.timeout.value < h.interval.value {
		return
	}
	interval, timeout := short(h.interval.value), short(h.timeout.value)
	switch {
	case h.timeout.at != place{} && h.interval.at != place{}:
		d.fail(h.timeout.at, "the timeout of %s must be shorter than the interval of %s", timeout, interval)
	case h.timeout.at != place{} && !slices.Contains(misspelt, "interval"):
		d.fail(h.timeout.at, "the timeout of %s must be shorter than the interval, which is %s if left out: add a longer interval", timeout, interval)
	case h.interval.at != place{} && !slices.Contains(misspelt, "timeout"):
		d.fail(h.interval.at, "the interval of %s must be longer than the timeout, which is %s if left out: add a shorter timeout", interval, timeout)
	}
}

// forChecks is a key that does nothing without an active check.
func forChecks(name string, read func(*decoder, *yaml.Node, *healthDraft)) key[healthDraft] {
	return key[healthDraft]{name: name, read: func(d *decoder, n *yaml.Node, h *healthDraft) {
		h.forChecks = append(h.forChecks, located[string]{name, d.at(n), true})
		read(d, n, h)
	}}
}

var healthKeys = []key[healthDraft]{
	{name: "http", read: func(d *decoder, n *yaml.Node, h *healthDraft) {
		h.HTTP = &HTTPCheck{Expect: []StatusRange{{200, 200}}}
		readMapping(d, n, "a mapping with path", d.at(n), httpKeys, h.HTTP)
	}},
	{name: "websocket", read: func(d *decoder, n *yaml.Node, h *healthDraft) {
		h.WebSocket = readWebSocketCheck(d, n)
	}},
	{name: "tcp", read: func(d *decoder, n *yaml.Node, h *healthDraft) {
		if tcp := d.boolean(n); tcp != nil {
			h.TCP = *tcp
		}
	}},
	{name: "agent", read: func(d *decoder, n *yaml.Node, h *healthDraft) {
		h.Agent = &AgentCheck{}
		readMapping(d, n, "a mapping with port", d.at(n), agentKeys, h.Agent)
	}},
	forChecks("interval", func(d *decoder, n *yaml.Node, h *healthDraft) {
		h.interval.at, h.interval.ok = d.at(n), d.duration(n, &h.interval.value, false)
	}),
	forChecks("timeout", func(d *decoder, n *yaml.Node, h *healthDraft) {
		h.timeout.at, h.timeout.ok = d.at(n), d.duration(n, &h.timeout.value, false)
	}),
	forChecks("fall", func(d *decoder, n *yaml.Node, h *healthDraft) { d.integer(n, &h.Fall, 1, maxRow) }),
	forChecks("rise", func(d *decoder, n *yaml.Node, h *healthDraft) { d.integer(n, &h.Rise, 1, maxRow) }),
	{name: "max_fails", read: func(d *decoder, n *yaml.Node, h *healthDraft) { d.integer(n, &h.MaxFails, 0, maxFails) }},
	{name: "fail_timeout", read: func(d *decoder, n *yaml.Node, h *healthDraft) { d.duration(n, &h.FailTimeout, false) }},
	{name: "min_healthy", read: func(d *decoder, n *yaml.Node, h *healthDraft) {
		h.minHealthy.at = d.at(n)
		if text, ok := d.scalar(n, `a number of backends or a percentage such as "50%"`); ok {
			v, err := parseHealthy(text.value)
			if err != nil {
				d.fail(text.at, "%v", err)
			}
			h.minHealthy.value, h.minHealthy.ok = v, err == nil
		}
	}},
	{name: "slow_start", read: func(d *decoder, n *yaml.Node, h *healthDraft) {
		d.durationWithin(n, &h.SlowStart, true, minDuration, maxSlowStart)
	}},
}

// healthy is how much of a pool must be well: one of a number of backends and
// a percentage.
type healthy struct{ count, percent int }

// maxHealthy bounds a number of backends.
const maxHealthy = 10_000

func parseHealthy(s string) (healthy, error) {
	digits, percent := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil || strings.Trim(digits, "0123456789") != "":
		return healthy{}, fmt.Errorf("expected a whole number of backends from 0 to %d or a percentage such as %q, got %s", maxHealthy, "50%", quote(s))
	case percent && n > 100:
		return healthy{}, fmt.Errorf("expected at most 100%%, got %s", quote(s))
	case percent:
		return healthy{percent: n}, nil
	case n > maxHealthy:
		return healthy{}, fmt.Errorf("expected a number from 0 to %d or a percentage such as %q, got %s", maxHealthy, "50%", cut(s))
	}
	return healthy{count: n}, nil
}
