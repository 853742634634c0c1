package cli

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admin"
)

type statusCommand struct{ adminFlag }

func (c *statusCommand) Run(env *environment) error {
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	s, err := admin.Client{Address: c.Admin}.Status(ctx)
	if err != nil {
		return err
	}
	state := "running"
	if s.Draining {
		state = "shutting down"
	}
	fmt.Fprintf(env.out, "holdfast %s, %s since %s, configuration %d of %s\n", s.Version, state,
		s.Started.Local().Format(time.DateTime), s.Generation, orFlags(s.ConfigFile))
	fmt.Fprintf(env.out, "sessions: %d now, %d opened; messages: %d from clients, %d from backends\n\n",
		s.Totals.Active, s.Totals.Opened, s.Totals.FromClient.Messages, s.Totals.FromBackend.Messages)
	w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POOL\tBACKEND\tADDRESS\tSTATE\tWEIGHT\tSESSIONS\tWHY")
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, b.Name, b.Address, b.State, weight(&b), sessions(&b), b.Reason)
		}
		if p.Queued > 0 {
			fmt.Fprintf(w, "%s\t\t\t\t\t\t%s\n", p.Name, waiting(p.Queued))
		}
		if r := p.Rebalance; r != nil && r.Active {
			fmt.Fprintf(w, "%s\t\t\t\t\t\tbeing rebalanced: %d sessions given away, %d above fair shares\n", p.Name, r.Given, r.Excess)
		}
		for _, d := range p.Discovery {
			if d.Trouble != "" {
				fmt.Fprintf(w, "%s\t\t\t\t\t\t%s: %s\n", p.Name, d.Source, d.Trouble)
			}
		}
	}
	return w.Flush()
}

// weight shows how much of its weight a backend has now where that is not all.
func weight(b *admin.Backend) string {
	if b.Share >= 1 {
		return strconv.Itoa(b.Weight)
	}
	return fmt.Sprintf("%d (%.0f %%)", b.Weight, 100*b.Share)
}

func sessions(b *admin.Backend) string {
	if b.MaxSessions == 0 {
		return strconv.Itoa(b.Sessions)
	}
	return fmt.Sprintf("%d of %d", b.Sessions, b.MaxSessions)
}

// waiting tells of a pool's queue.
func waiting(handshakes int) string {
	if handshakes == 1 {
		return "1 handshake waits for a backend"
	}
	return fmt.Sprintf("%d handshakes wait for a backend", handshakes)
}

func orFlags(file string) string {
	if file == "" {
		return "the command line"
	}
	return file
}
