package logging

import (
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tally"
)

// thinned are the lines that clients can cause as often as they like. If too many are
// alike, which means that they have the same message and the same value of this
// attribute, the others are only counted.
var thinned = map[string]struct {
	attr string
	rate tally.Rate
}{
	"handshake refused":                     {"result", alikeRate},
	"the admin interface refused a request": {"why", alikeRate},
	"handshake declined by the backend":     {"status", alikeRate},
	"plain HTTP request failed":             {"status", alikeRate},
	"a backend doesn't answer a handshake":  {"backend", alikeRate},
	httpLine:                                {"status", floodRate},
	openLine:                                {"", floodRate},
	closedLine:                              {"cause", floodRate},
}

const (
	httpLine   = "plain HTTP request"
	openLine   = "session open"
	closedLine = "session closed"
)

// alikeRate is how many lines that are alike are written of clients that get nothing,
// floodRate of sessions and requests.
var (
	alikeRate = tally.PerSecond(10, 100)
	floodRate = tally.PerSecond(2000, 10_000)
)

// reportEvery is how often those that were left out are reported.

const reportEvery = 5 * time.Second

// maxAlike bounds the groups of lines that are told apart. The values of attributes
// are few, so it isn't reached.
const maxAlike = 4096

// alike is what lines have in common of which too many are left out.
type alike struct{ msg, attr, value string }

// group is the lines that are alike.
type group struct {
	level  slog.Level
	bucket tally.Bucket
	left   int // out, since the last report
}

// thinner leaves out lines of which too many are alike.
type thinner struct {
	report func(a alike, level slog.Level, n int) // writes a line

	mu     sync.Mutex // guards the following
	groups map[alike]*group
	timer  *time.Timer // of the next report; nil if none is needed
	closed bool
}

// keeps reports whether a line is written.
func (t *thinner) keeps(r *slog.Record) bool {
	by, ok := thinned[r.Message]
	if !ok {
		return true
	}
	a := alike{msg: r.Message, attr: by.attr}
	r.Attrs(func(of slog.Attr) bool {
		if of.Key == by.attr {
			a.value = of.Value.String()
		}
		return of.Key != by.attr
	})
	return t.keepsAlike(a, r.Level, r.Time)
}

// keepsAlike is keeps for a line that isn't a Record.
func (t *thinner) keepsAlike(a alike, level slog.Level, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[a]
	if g == nil {
		if len(t.groups) >= maxAlike {
			return true
		}
		g = &group{level: level}
		t.groups[a] = g
	}
	if t.closed || g.bucket.Take(thinned[a.msg].rate, now) == 0 {
		return true
	}
	g.left++
	if t.timer == nil {
		t.timer = time.AfterFunc(reportEvery, t.flush)
	}
	return false
}

// flush reports what was left out.
func (t *thinner) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	for a, g := range t.groups {
		if g.left > 0 {
			t.report(a, g.level, g.left)
			g.left = 0
		}
	}
}

// close reports what was left out, and leaves out nothing from now on.
func (t *thinner) close() {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	t.flush()
}
