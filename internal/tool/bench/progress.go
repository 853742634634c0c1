package bench

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress prints the progress of a run at an interval.
type progress struct {
	to     io.Writer
	live   bool
	groups []*group

	mu    sync.Mutex
	what  string
	since time.Time
	lasts time.Duration // 0 if unknown

	once sync.Once
	done chan struct{}
	over chan struct{}
}

const (
	liveInterval = 500 * time.Millisecond
	lineInterval = 5 * time.Second
)

func startProgress(to io.Writer, live bool, groups []*group) *progress {
	p := &progress{to: to, live: live, groups: groups, done: make(chan struct{}), over: make(chan struct{})}
	if to == nil {
		close(p.over)
		return p
	}
	interval := lineInterval
	if live {
		interval = liveInterval
	}
	go func() {
		defer close(p.over)
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for {
			select {
			case <-p.done:
				if live {
					fmt.Fprint(to, "\r\x1b[K")
				}
				return
			case <-ticks.C:
				p.print()
			}
		}
	}()
	return p
}

// stop stops the output and waits until nothing more is written.
func (p *progress) stop() {
	p.once.Do(func() { close(p.done) })
	<-p.over
}

// phase sets the current phase and its duration, 0 if unknown.
func (p *progress) phase(what string, lasts time.Duration) {
	p.mu.Lock()
	p.what, p.since, p.lasts = what, time.Now(), lasts
	p.mu.Unlock()
}

func (p *progress) print() {
	line := p.line()
	if p.live {
		fmt.Fprint(p.to, "\r"+line+"\x1b[K")
	} else {
		fmt.Fprintln(p.to, line)
	}
}

func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s", p.what, time.Since(p.since).Round(100*time.Millisecond))
	if p.lasts > 0 {
		fmt.Fprintf(&b, " of %s", p.lasts)
	}
	for _, g := range p.groups {
		if len(p.groups) > 1 {
			fmt.Fprintf(&b, " | %s", g.name)
		} else {
			b.WriteString(" |")
		}
		fmt.Fprintf(&b, " %d opened", g.opened.Load())
		if w := g.current.Load(); w != nil {
			fmt.Fprintf(&b, ", %d sent, %d received, p99 %s", w.sent.Load(), w.received.Load(), ms(w.latency.Quantile(0.99)))
		}
		if n := g.failures.total(); n > 0 {
			fmt.Fprintf(&b, ", %d FAILED", n)
		}
	}
	return b.String()
}
