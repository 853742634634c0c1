// Package doctor plays the checklist of docs/backends.md against a WebSocket
// server, as the balancer in front of it would, and says what to mend.
package doctor

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Report is what was found.
type Report struct {
	URL   string `json:"url"`
	Lines []Line `json:"checks"`
	Mend  int    `json:"mend"` // how many of them are to be mended
}

// doctor is one examination.
type doctor struct {
	o      Options
	target target
	report Report
	broken func() error // off: not nil then, and what is found is of no account
}

// Examine makes all the checks there are, and returns when they are done or
// ctx is, with ctx's error then. It has no sessions open any more.
func Examine(ctx context.Context, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	d := &doctor{o: o, target: o.target(), report: Report{URL: o.URL}, broken: ctx.Err}
	d.takeHost()
	d.examine(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return &d.report, nil
}

func (d *doctor) examine(ctx context.Context) {
	first := d.handshake(ctx)
	d.tell(checkHandshake, first)
	if first.result != OK {
		for check := checkPing; check < checks; check++ {
			d.tell(check, skipped("there is no session"))
		}
		return
	}
	// It takes longer than all that comes before it in the list.
	idle := make(chan finding, 1)
	go func() { idle <- d.idle(ctx) }()
	d.tell(checkPing, d.ping(ctx))
	d.tell(checkClose, d.close(ctx))
	d.reattach(ctx)
	d.tell(checkHealth, d.health(ctx))
	d.progress("idle: a session is left alone for %v", d.o.Idle)
	d.tell(checkIdle, <-idle)
	d.drain(ctx)
}

func (d *doctor) tell(check int, f finding) {
	if d.broken() != nil {
		return
	}
	l := f.line(check)
	d.report.Lines = append(d.report.Lines, l)
	if l.Result == Mend {
		d.report.Mend++
	}
	if d.o.Each != nil {
		d.o.Each(l)
	}
}

func (d *doctor) progress(format string, args ...any) {
	fmt.Fprintf(d.o.Progress, format+"\n", args...)
}

// rounded is a time as people read it.
func rounded(t time.Duration) time.Duration {
	switch {
	case t > 10*time.Second:
		return t.Round(100 * time.Millisecond)
	case t > time.Second:
		return t.Round(10 * time.Millisecond)
	case t > time.Millisecond:
		return t.Round(time.Millisecond)
	}
	return t.Round(time.Microsecond)
}
