package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

type statusCommand struct{ adminFlag }

// Help is kong's detailed help.
func (*statusCommand) Help() string {
	return `Shows a line for each backend, with its state, its sessions and the reason for
its state, and one for each certificate. The admin address answers GET /v1/status with the same as JSON.

  holdfast status

Exit status: 0 shown, 1 failed.`
}

func (c *statusCommand) Run(env *environment) error {
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	balancer, err := c.client()
	if err != nil {
		return err
	}
	defer balancer.Close()
	s, err := balancer.Status(ctx)
	if err != nil {
		return err
	}
	state := "running since " + s.Started.Local().Format(time.DateTime)
	if s.Draining {
		state = "shutting down, running since " + s.Started.Local().Format(time.DateTime)
		if s.DrainingSince != nil {
			state = fmt.Sprintf("shutting down since %s, running since %s", s.DrainingSince.Local().Format(time.DateTime), s.Started.Local().Format(time.DateTime))
		}
	}
	fmt.Fprintf(env.out, "holdfast %s, %s, configuration %d of %s\n", s.Version, state, s.Generation, orFlags(s.ConfigFile))
	fmt.Fprintf(env.out, "sessions: %d now, %d opened; messages: %d from clients, %d from backends\n\n",
		s.Totals.Active, s.Totals.Opened, s.Totals.FromClient.Messages, s.Totals.FromBackend.Messages)
	w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POOL\tBACKEND\tADDRESS\tSTATE\tWEIGHT\tSESSIONS\tWHY")
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, b.Name, b.Address, stateOf(&b), weight(&b), sessions(&b), why(&b, time.Now()))
		}
		if p.Queued > 0 {
			fmt.Fprintf(w, "%s\t\t\t\t\t\t%s\n", p.Name, queued(p.Queued))
		}
		if p.LearnedKeys > 0 {
			fmt.Fprintf(w, "%s\t\t\t\t\t\t%s\n", p.Name, learned(p.LearnedKeys))
		}
		if r := p.Rebalance; r != nil && r.Active {
			fmt.Fprintf(w, "%s\t\t\t\t\t\tbeing rebalanced: %d sessions given away, %d above fair shares\n", p.Name, r.Given, r.Excess)
		}
		for _, d := range p.Discovery {
			if d.LastError != "" {
				fmt.Fprintf(w, "%s\t\t\t\t\t\t%s: %s\n", p.Name, d.Source, d.LastError)
			}
		}
	}
	if len(s.Certificates) > 0 {
		fmt.Fprintln(w, "\nCERTIFICATE\tNAMES\tKEY\tEXPIRES\tDAYS LEFT\tWHY")
		for _, c := range s.Certificates {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f\t%s\n", c.Cert, strings.Join(c.Names, " "), c.Key, c.NotAfter.Local().Format(time.DateTime), c.DaysLeft, problem(&c))
		}
	}
	return w.Flush()
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

// why explains the state of a backend, and how long its drain still takes.
func why(b *api.Backend, now time.Time) string {
	if b.Drain == nil {
		return b.Reason
	}
	var left string
	switch d := b.Drain.Deadline.Sub(now).Round(time.Second); {
	case b.Sessions == 0:
		left = "empty"
	case d > 0:
		left = fmt.Sprintf("%v left", d)
	default:
		left = "time is up, closing the rest"
	}
	if b.Reason == "" {
		return left
	}
	return b.Reason + "; " + left
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
		all += " and " + count(b.Requests, "HTTP request")
	}
	return all
}

// queued is the line about a pool's queue.
func queued(handshakes int) string {
	if handshakes == 1 {
		return "1 handshake waits for a backend"
	}
	return fmt.Sprintf("%d handshakes wait for a backend", handshakes)
}

// learned is the line about a pool's affinity.
func learned(keys int) string {
	if keys == 1 {
		return "1 key has a backend"
	}
	return fmt.Sprintf("%d keys have a backend", keys)
}

func orFlags(file string) string {
	if file == "" {
		return "the command line"
	}
	return file
}
