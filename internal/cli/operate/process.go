package operate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Reload is "holdfast reload".
type Reload struct {
	Output
	Flags
}

// Help is kong's detailed help.
func (*Reload) Help() string {
	return `The balancer reads its file again. Live sessions are not affected. If the file
has errors, they are printed and nothing changes. SIGHUP does the same, and
reports to the log.

  holdfast reload

Exit status: 0 reloaded, 1 failed, 2 wrong arguments.`
}

// Run reloads the configuration.
func (c *Reload) Run(e *env.Env) error {
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		r, err := b.Reload(ctx)
		if err != nil {
			return err
		}
		warnings(e, r.Warnings)
		return c.print(e, r, func() error { return say(e, "reloaded") })
	})
}

// Log is "holdfast log".
type Log struct {
	Level string `arg:"" optional:"" complete:"debug info warn error" help:"New level: debug, info, warn or error."`
	Output
	Flags
}

// Help is kong's detailed help.
func (*Log) Help() string {
	return `Shows the lowest level that is logged, or changes it. It holds until the next start, or
the next reload that changes log.level in the file.

  holdfast log
  holdfast log debug

Exit status: 0 done, 1 failed, 2 wrong arguments.`
}

// Run shows or sets the level of the log.
func (c *Log) Run(e *env.Env) error {
	if levels := []string{"debug", "info", "warn", "error"}; c.Level != "" && !slices.Contains(levels, c.Level) {
		return env.Usage("there is no level %q: the levels are %s", c.Level, strings.Join(levels, ", "))
	}
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		var l api.Log
		var err error
		if c.Level == "" {
			l, err = b.Log(ctx)
		} else {
			l, err = b.SetLog(ctx, c.Level)
		}
		if err != nil {
			return err
		}
		return c.print(e, l, func() error {
			if l.File == "" || l.File == l.Level {
				return say(e, "%s", l.Level)
			}
			return say(e, "%s (the file: %s)", l.Level, l.File)
		})
	})
}

// Routes is "holdfast routes".
type Routes struct {
	Output
	Flags
}

// Help is kong's detailed help.
func (*Routes) Help() string {
	return `The routes in the order in which they match; "*" matches everything. TO is a pool,
several with their weights, or an answer.

  holdfast routes

Exit status: 0 shown, 1 failed, 2 wrong arguments.`
}

// Run lists the routes.
func (c *Routes) Run(e *env.Env) error {
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		list, err := b.Routes(ctx)
		if err != nil {
			return err
		}
		return c.print(e, list, func() error { return routeTable(list).Write(e.Out, e.Width()) })
	})
}

func routeTable(list []api.Route) *table.Table {
	t := table.New(table.Column{Title: "ROUTE"}, table.Column{Title: "TO", Cut: true}, table.Column{Title: "LISTENERS", Drop: 1, Cut: true}, table.Column{Title: "ASKS FOR"})
	for i := range list {
		r := &list[i]
		to := r.Pool
		switch {
		case r.Answer != "":
			to = r.Answer
		case len(r.Split) > 0:
			var parts []string
			for _, pool := range slices.Sorted(maps.Keys(r.Split)) {
				parts = append(parts, fmt.Sprintf("%s (%d)", pool, r.Split[pool]))
			}
			to = strings.Join(parts, ", ")
		}
		t.Row(cmp.Or(r.Name, "*"), to, strings.Join(r.Listener, " "), strings.Join(r.Auth, ", "))
	}
	return t
}
