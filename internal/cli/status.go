package cli

import (
	"context"
	"fmt"
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
	fmt.Fprintln(w, "POOL\tBACKEND\tADDRESS\tSTATE\tWEIGHT\tSESSIONS")
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\n", p.Name, b.Name, b.Address, b.State, b.Weight, b.Sessions)
		}
	}
	return w.Flush()
}

func orFlags(file string) string {
	if file == "" {
		return "the command line"
	}
	return file
}
