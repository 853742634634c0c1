package operate

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Close is "holdfast close".
type Close struct {
	ID     string  `arg:"" optional:"" help:"Session to close, as holdfast sessions lists it."`
	All    bool    `help:"Close all sessions of the balancer."`
	Code   int     `default:"1008" placeholder:"CODE" help:"Code of the Close frame (default 1008, policy violation)."`
	Reason string  `placeholder:"TEXT" help:"Reason in the Close frame, at most 123 bytes."`
	Rate   float64 `placeholder:"N" help:"Close this many a second (default: all at once)."`
	DryRun bool    `help:"Only say how many sessions would be closed."`
	Yes    bool    `short:"y" help:"Don't ask."`
	Filter
	Output
	Flags
}

// Help is kong's detailed help.
func (*Close) Help() string {
	return `Closes a session, or all sessions that match the filter, at a message boundary. On a
terminal it asks before it closes more than one.

  holdfast close AMNCA2EK43LOCF7DUFPG
  holdfast close --claim sub=alice --reason "signed out"
  holdfast close --backend chat/ws1 --min-idle 1h --code 1001 --rate 50 --dry-run

The clients may connect again, unless their tokens are refused meanwhile.

Exit status: 0 done, also if no session matches the filter; 1 failed, there is no session
with that ID, or the answer was no; 2 wrong arguments.`
}

// Run closes sessions.
func (c *Close) Run(e *env.Env) error {
	filtered := c.Filter != (Filter{})
	switch {
	case c.ID == "" && !filtered && !c.All:
		return env.Usage("which sessions? Give an ID, a filter such as --claim NAME=VALUE, or --all")
	case c.ID != "" && (filtered || c.All), filtered && c.All:
		return env.Usage("use only one of an ID, a filter and --all")
	case c.Rate < 0:
		return env.Usage("--rate must not be negative")
	}
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		filter, err := c.filter(ctx, b)
		if err != nil {
			return err
		}
		if filter.ID = c.ID; c.ID != "" {
			if _, err := b.Session(ctx, c.ID); err != nil {
				return err
			}
		}
		request := api.CloseRequest{SessionFilter: filter, All: c.All, Code: c.Code, Reason: c.Reason, Rate: c.Rate, DryRun: true}
		if !c.DryRun && c.ID == "" && !c.Yes && e.Interactive() {
			// The clock doesn't run while somebody thinks.
			if err := c.confirm(ctx, e, b, request); err != nil {
				return err
			}
			return c.ask(e, func(ctx context.Context, b *client.Client) error { return c.close(ctx, e, b, request) })
		}
		return c.close(ctx, e, b, request)
	})
}

// confirm asks whether to close more than one session.
func (c *Close) confirm(ctx context.Context, e *env.Env, b *client.Client, dry api.CloseRequest) error {
	r, err := b.CloseSessions(ctx, dry)
	if err != nil || r.Sessions <= 1 {
		return err
	}
	fmt.Fprintf(e.Err, "Close %d sessions with %d%s? [y/N] ", r.Sessions, c.Code, table.Escape(strings.TrimRight(" "+c.Reason, " ")))
	answer, err := bufio.NewReader(e.In).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
		return nil
	}
	if err != nil {
		fmt.Fprintln(e.Err)
	}
	return fmt.Errorf("no session was closed")
}

func (c *Close) close(ctx context.Context, e *env.Env, b *client.Client, r api.CloseRequest) error {
	r.DryRun = c.DryRun
	result, err := b.CloseSessions(ctx, r)
	if err != nil {
		return err
	}
	return c.print(e, result, func() error {
		n := env.Count(result.Sessions, "session")
		switch {
		case c.DryRun && result.Over > 0:
			return say(e, "%s would be closed, over %s", n, seconds(result.Over))
		case c.DryRun:
			return say(e, "%s would be closed", n)
		case result.Over > 0:
			return say(e, "%s being closed, the last one in %s", n, seconds(result.Over))
		}
		return say(e, "%s closed", n)
	})
}
