package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Drain says how a backend is emptied that is to get no more sessions: by
// command, by a check that is answered with 503, or since it left the file or
// discovery. Its sessions go on, and those still there towards the end are
// closed at a message boundary.
type Drain struct {
	Timeout time.Duration // from the beginning to the deadline, 0 to 24h
	// Spread is the last part of Timeout, over which sessions are closed
	// evenly: 0 to Timeout.
	Spread time.Duration
	// Code is for the Close frame: 1000, 1001, 1008, 1011 to 1014 or 3000 to
	// 4999.
	Code   int
	Reason string // for the Close frame, UTF-8 of at most 123 bytes
	// StickyKeep: clients that affinity brings back are still taken.
	StickyKeep bool
}

// DefaultDrain is what a pool that says nothing of it has.
func DefaultDrain() Drain { return newDrainDraft().settings() }

const maxDrain = 24 * time.Hour

type drainDraft struct {
	timeout, spread located[time.Duration]
	code            int
	reason          string
	sticky          located[string]
}

func newDrainDraft() drainDraft {
	return drainDraft{
		timeout: located[time.Duration]{value: 300 * time.Second, ok: true},
		spread:  located[time.Duration]{value: 60 * time.Second, ok: true},
		code:    1001,
		reason:  "going away",
		sticky:  located[string]{value: "move"},
	}
}

// settings is what was read. A timeout that is shorter than the spread's
// default takes that along.
func (q drainDraft) settings() Drain {
	spread := min(q.spread.value, q.timeout.value)
	return Drain{q.timeout.value, spread, q.code, q.reason, q.sticky.value == "keep"}
}

func readDrain(d *decoder, n *yaml.Node, p *poolDraft) {
	q := &p.drain
	misspelt, _ := readMapping(d, n, "a mapping with timeout and spread", d.at(n), drainKeys, q)
	if !q.timeout.ok || !q.spread.ok || q.spread.value <= q.timeout.value || q.spread.at == (place{}) {
		return
	}
	spread, timeout := short(q.spread.value), short(q.timeout.value)
	switch {
	case q.timeout.at != place{}:
		d.fail(q.spread.at, "the spread of %s must not be longer than the timeout of %s, of which it is the last part", spread, timeout)
	case !slices.Contains(misspelt, "timeout"):
		d.fail(q.spread.at, "the spread of %s must not be longer than the timeout, which is %s if left out: add a longer timeout", spread, timeout)
	}
}

var drainKeys = []key[drainDraft]{
	{name: "timeout", read: func(d *decoder, n *yaml.Node, q *drainDraft) {
		q.timeout.at, q.timeout.ok = d.at(n), d.durationWithin(n, &q.timeout.value, true, minDuration, maxDrain)
	}},
	{name: "spread", read: func(d *decoder, n *yaml.Node, q *drainDraft) {
		q.spread.at, q.spread.ok = d.at(n), d.durationWithin(n, &q.spread.value, true, minDuration, maxDrain)
	}},
	{name: "code", read: func(d *decoder, n *yaml.Node, q *drainDraft) {
		d.closeCode(n, &q.code)
	}},
	{name: "reason", read: func(d *decoder, n *yaml.Node, q *drainDraft) {
		d.parsed(n, &q.reason, "a text", parseReason)
	}},
	{name: "sticky", read: func(d *decoder, n *yaml.Node, q *drainDraft) {
		q.sticky.at, q.sticky.ok = d.at(n), d.choice(n, &q.sticky.value, "move", "keep")
	}},
}

// checkDrain looks at how the keys of drain go together with the pool's.
func (r *report) checkDrain(p poolDraft) Drain {
	if p.drain.sticky.ok && p.affinity.Cookie == nil && p.affinity.Token == nil {
		r.warn(p.drain.sticky.at, "sticky does nothing without affinity: add affinity, or leave it out")
	}
	return p.drain.settings()
}

// closeCode reads the code of a Close frame. It leaves into alone when there is
// a mistake.
func (d *decoder) closeCode(n *yaml.Node, into *int) {
	n, ok := d.value(n)
	if !ok {
		return
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		d.wrongType(n, "a close code such as 1001")
		return
	}
	code, err := strconv.Atoi(n.Value)
	if err != nil || !mayClose(code) {
		d.fail(d.at(n), "expected a close code that may be sent here, 1000, 1001, 1008, 1011 to 1014 or 3000 to 4999, got %s", cut(n.Value))
		return
	}
	*into = code
}

// mayClose tells the codes that an endpoint may send (RFC 6455 sections 7.4.1
// and 7.4.2, and the registry it opened) when nothing is wrong with what it
// received; 1005, 1006 and 1015 never stand in a frame.
func mayClose(code int) bool {
	return code == 1000 || code == 1001 || code == 1008 || 1011 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

// maxReason is what a control frame has room for beside the code (RFC 6455
// section 5.5), in bytes.
const maxReason = 123

func parseReason(s string) (string, error) {
	switch {
	case len(s) > maxReason:
		return "", fmt.Errorf("the reason has %d bytes and a Close frame has room for %d: shorten it", len(s), maxReason)
	case !utf8.ValidString(s): // section 5.5.1
		return "", errors.New("the reason is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", errors.New("the reason has control characters in it: write plain text")
	}
	return s, nil
}
