package operate

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Status is "holdfast status".
type Status struct {
	Output
	Flags
}

// Help is kong's detailed help.
func (*Status) Help() string {
	return `A line for each backend: its state, its sessions, new sessions and messages a second,
the 99th percentile of the time that handshakes took, and the reason for its state.
Then a line for each certificate. A narrow terminal has fewer columns. A "-" is for what
isn't known yet: rates are averages since somebody asked before.

  holdfast status
  holdfast status --output json

Exit status: 0 shown, 1 failed, 2 wrong arguments.`
}

// Run shows the status.
func (c *Status) Run(e *env.Env) error {
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		s, err := b.Status(ctx)
		if err != nil {
			return err
		}
		return c.print(e, s, func() error { return showStatus(e, &s) })
	})
}

func showStatus(e *env.Env, s *api.Status) error {
	since := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	state := "running since " + since(s.Started)
	if s.Draining && s.DrainingSince != nil {
		state = "shutting down since " + since(*s.DrainingSince) + ", " + state
	} else if s.Draining {
		state = "shutting down, " + state
	}
	file := s.ConfigFile
	if file == "" {
		file = "the command line"
	}
	say(e, "holdfast %s, %s, configuration %d of %s", s.Version, state, int(s.Generation), file)
	say(e, "sessions: %d now, %d opened; messages: %d from clients, %d from backends",
		s.Totals.Active, s.Totals.Opened, s.Totals.FromClient.Messages, s.Totals.FromBackend.Messages)
	if s.Changes > 0 {
		say(e, "%s of backends made at run time: see holdfast changes", env.Count(s.Changes, "change"))
	}
	fmt.Fprintln(e.Out)
	if err := backendTable(s.Pools, time.Now()).Write(e.Out, e.Width()); err != nil || len(s.Certificates) == 0 {
		return err
	}
	fmt.Fprintln(e.Out)
	return certificateTable(s.Certificates).Write(e.Out, e.Width())
}

// backendTable has a row for each backend, and one for what else is to say about a pool.
func backendTable(pools []api.Pool, now time.Time) *table.Table {
	t := table.New(table.Column{Title: "POOL"}, table.Column{Title: "BACKEND"}, table.Column{Title: "ADDRESS", Drop: 1, Cut: true}, table.Column{Title: "STATE"},
		table.Column{Title: "WEIGHT"}, table.Column{Title: "SESSIONS"}, table.Column{Title: "NEW/S", Right: true, Drop: 3},
		table.Column{Title: "MSGS/S", Right: true, Drop: 2}, table.Column{Title: "P99", Right: true, Drop: 4}, table.Column{Title: "WHY"})
	for i := range pools {
		p := &pools[i]
		about := func(format string, args ...any) {
			t.Row(p.Name, "", "", "", "", "", "", "", "", fmt.Sprintf(format, args...))
		}
		for j := range p.Backends {
			b := &p.Backends[j]
			t.Row(p.Name, b.Name, b.Address, stateOf(b), weight(b), sessions(b), rate(&b.Rates, b.Rates.Opened), rate(&b.Rates, b.Rates.Messages), latency(b.Handshake), why(b, now))
		}
		switch {
		case p.Queued == 1:
			about("1 handshake waits for a backend")
		case p.Queued > 0:
			about("%d handshakes wait for a backend", p.Queued)
		}
		switch {
		case p.LearnedKeys == 1:
			about("1 key has a backend")
		case p.LearnedKeys > 0:
			about("%d keys have a backend", p.LearnedKeys)
		}
		if r := p.Rebalance; r != nil && r.Active {
			about("being rebalanced: %d sessions given away, %d above fair shares", r.Given, r.Excess)
		}
		for _, d := range p.Discovery {
			if d.LastError != "" {
				about("%s: %s", d.Source, d.LastError)
			}
		}
	}
	return t
}

// why explains the state of a backend, and how long its drain still takes.
func why(b *api.Backend, now time.Time) string {
	var parts []string
	if b.Reason != "" {
		parts = append(parts, b.Reason)
	}
	if b.Drain != nil {
		switch left := b.Drain.Deadline.Sub(now).Round(time.Second); {
		case b.Sessions == 0:
			parts = append(parts, "empty")
		case left > 0:
			parts = append(parts, fmt.Sprintf("%v left", left))
		default:
			parts = append(parts, "time is up, closing the rest")
		}
	}
	if c := b.Certificate; c != nil && c.DaysLeft < soon {
		parts = append(parts, expiry(c.DaysLeft))
	}
	return strings.Join(parts, "; ")
}

// soon is from how many days before its end a certificate is shown with a note.
const soon = 14

func expiry(daysLeft float64) string {
	if daysLeft < 0 {
		return "its certificate has expired"
	}
	return fmt.Sprintf("its certificate expires in %.1f days", daysLeft)
}

// stateOf is a backend's state, and whether it is a backup.
func stateOf(b *api.Backend) string {
	if b.Backup {
		return b.State + " (backup)"
	}
	return b.State
}

// weight is a backend's weight, with its share of it if that is below 1.
func weight(b *api.Backend) string {
	if b.Share >= 1 {
		return strconv.Itoa(b.Weight)
	}
	return fmt.Sprintf("%d (%.0f %%)", b.Weight, 100*b.Share)
}

func sessions(b *api.Backend) string {
	all := strconv.Itoa(b.Sessions)
	if b.MaxSessions != 0 {
		all += " of " + strconv.Itoa(b.MaxSessions)
	}
	if b.Requests > 0 {
		all += " and " + env.Count(b.Requests, "HTTP request")
	}
	return all
}

// Certificates is "holdfast certificates".
type Certificates struct {
	Output
	Flags
}

// Help is kong's detailed help.
func (*Certificates) Help() string {
	return `The certificates of listeners with TLS, and when they expire.

  holdfast certificates

Exit status: 0 shown, 1 failed, 2 wrong arguments.`
}

// Run shows the certificates.
func (c *Certificates) Run(e *env.Env) error {
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		list, err := b.Certificates(ctx)
		if err != nil {
			return err
		}
		return c.print(e, list, func() error {
			if len(list) == 0 {
				return say(e, "no listener has TLS")
			}
			return certificateTable(list).Write(e.Out, e.Width())
		})
	})
}

func certificateTable(list []api.Certificate) *table.Table {
	t := table.New(table.Column{Title: "CERTIFICATE", Cut: true}, table.Column{Title: "NAMES", Cut: true}, table.Column{Title: "KEY", Drop: 1},
		table.Column{Title: "EXPIRES", Drop: 2}, table.Column{Title: "DAYS LEFT", Right: true}, table.Column{Title: "WHY"})
	for i := range list {
		c := &list[i]
		t.Row(c.Cert, strings.Join(c.Names, " "), c.Key, c.NotAfter.Local().Format(time.DateTime), fmt.Sprintf("%.1f", c.DaysLeft), problem(c))
	}
	return t
}

// problem says what is wrong with a certificate; "" for nothing.
func problem(c *api.Certificate) string {
	switch {
	case c.Problem != "":
		return "still the one before: " + c.Problem
	case c.DaysLeft < 0:
		return "has expired"
	}
	return ""
}
