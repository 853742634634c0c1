// Package doctor runs the checklist of docs/backends.md against a WebSocket server,
// acting like the balancer in front of it, and says what to fix. It implements
// `holdfast doctor`.
package doctor

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Report has the results of an examination.
type Report struct {
	URL    string        `json:"url,omitempty"`
	URLs   []string      `json:"urls,omitempty"` // instead of URL, of several servers
	Checks []CheckResult `json:"checks"`
	ToFix  int           `json:"fix"` // number of results that are Fix
}

// doctor runs one examination.
type doctor struct {
	o        Options
	target   target
	report   Report
	canceled func() error // not nil after ctx has ended; results are then ignored
}

// Examine runs all checks. It blocks until they are done and all its sessions are
// closed. If ctx ends before, it returns the cause.
func Examine(ctx context.Context, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	d := &doctor{o: o, target: o.target(), report: Report{URL: o.URL}, canceled: ctx.Err}
	d.takeHost()
	d.examine(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return &d.report, nil
}

func (d *doctor) examine(ctx context.Context) {
	first := d.handshake(ctx)
	d.record(checkHandshake, first)
	if first.result != OK {
		for check := checkPing; check < checks; check++ {
			d.record(check, skipped("there is no session"))
		}
		return
	}
	// Run in parallel: it takes longer than all checks before it.
	idle := make(chan finding, 1)
	go func() { idle <- d.idle(ctx) }()
	d.record(checkPing, d.ping(ctx))
	d.record(checkClose, d.close(ctx))
	d.reattach(ctx)
	d.record(checkHealth, d.health(ctx))
	d.progress("idle: sending nothing on a session for %v", d.o.Idle)
	d.record(checkIdle, <-idle)
	d.drain(ctx)
}

func (d *doctor) record(check int, f finding) {
	if d.canceled() != nil {
		return
	}
	l := f.resultOf(check)
	d.report.Checks = append(d.report.Checks, l)
	if l.Result == Fix {
		d.report.ToFix++
	}
	if d.o.Each != nil {
		d.o.Each(l)
	}
}

func (d *doctor) progress(format string, args ...any) {
	fmt.Fprintf(d.o.Progress, format+"\n", args...)
}

// rounded rounds a time for display.
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
