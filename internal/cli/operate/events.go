package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Events is "holdfast events".
type Events struct {
	Follow bool     `short:"f" help:"Go on with events as they happen, until Ctrl-C. A lost connection is made again."`
	Kind   []string `placeholder:"KIND" complete:"backend drain backends change reload rebalance sessions certificate overload shutdown" help:"Only events of this kind: backend, drain, backends, change, reload, rebalance, sessions, certificate, overload or shutdown. Repeatable."`
	Pool   string   `placeholder:"POOL" help:"Only events about this pool."`
	After  uint64   `placeholder:"ID" help:"Only events after this one."`
	Output
	Flags
}

// Help is kong's detailed help.
func (*Events) Help() string {
	return `Shows what happened: changes of backends' states and why, drains, reloads, changes
through the API, sessions that are being closed, certificates. The balancer keeps the
last ones. With --output json there is one JSON object on each line.

  holdfast events
  holdfast events -f --kind backend --kind drain

Exit status: 0 shown, 1 failed, 2 wrong arguments.`
}

// Run shows events.
func (c *Events) Run(e *env.Env) error {
	for _, k := range c.Kind {
		if !slices.Contains(api.Kinds, k) {
			return env.Usage("--kind %s: there is no such kind: the kinds are %s", k, strings.Join(api.Kinds, ", "))
		}
	}
	b, err := c.Client()
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(e.Ctx)
	defer cancel()
	if !c.Follow {
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	about := func(format string, args ...any) {
		fmt.Fprintln(e.Err, table.Escape(fmt.Sprintf(format, args...)))
	}
	w := client.Watch{After: c.After, Once: !c.Follow,
		Lost:  func(err error) { about("holdfast: %v; connecting again", err) },
		Found: func() { about("holdfast: connected again") },
	}
	return advise(b.Events(ctx, w, func(v api.Event) error {
		if !c.wants(&v) {
			return nil
		}
		return c.one(e, &v)
	}))
}

// wants reports whether to show an event. That some are missing is always shown.
func (c *Events) wants(v *api.Event) bool {
	if v.Kind == api.EventMissed {
		return true
	}
	return (len(c.Kind) == 0 || slices.Contains(c.Kind, v.Kind)) && (c.Pool == "" || c.Pool == v.Pool)
}

func (c *Events) one(e *env.Env, v *api.Event) error {
	if c.json() {
		text, err := table.Line(v)
		if err == nil {
			_, err = e.Out.Write(text)
		}
		return err
	}
	about := v.Pool
	if v.Backend != "" {
		about += "/" + v.Backend
	}
	if about != "" {
		about += ": "
	}
	_, err := fmt.Fprintf(e.Out, "%s  %-5s  %-11s  %s\n", v.Time.Local().Format(time.DateTime), table.Escape(v.Level), table.Escape(v.Kind), table.Escape(about+v.Message))
	return err
}
