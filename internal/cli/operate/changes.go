package operate

import (
	"context"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Changes is "holdfast changes".
type Changes struct {
	List   ListChanges   `cmd:"" default:"withargs" help:"List what was changed at run time and differs from the file (the default)."`
	Revert RevertChanges `cmd:"" help:"Undo changes, so that the file counts again."`
}

// ListChanges is "holdfast changes list".
type ListChanges struct {
	Output
	Flags
}

// Help is kong's detailed help.
func (*ListChanges) Help() string {
	return `FILE is the value by the configuration file, NOW the one in use.

  holdfast changes

Exit status: 0 shown, also if there is none; 1 failed; 2 wrong arguments.`
}

// Run lists the changes.
func (c *ListChanges) Run(e *env.Env) error {
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		list, err := b.Changes(ctx)
		if err != nil {
			return err
		}
		return c.print(e, list, func() error {
			if len(list) == 0 {
				return say(e, "everything is as in the file")
			}
			return changeTable(list).Write(e.Out, e.Width())
		})
	})
}

func changeTable(list []api.Change) *table.Table {
	t := table.New(table.Column{Title: "BACKEND"}, table.Column{Title: "CHANGED"}, table.Column{Title: "FILE", Cut: true}, table.Column{Title: "NOW", Cut: true},
		table.Column{Title: "SINCE", Drop: 1}, table.Column{Title: "PROBLEM"})
	for i := range list {
		c := &list[i]
		t.Row(c.Pool+"/"+c.Backend, c.Field, dash(c.File), dash(c.Now), c.Since.Local().Format(time.DateTime), c.Problem)
	}
	return t
}

// dash stands for no value.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// RevertChanges is "holdfast changes revert".
type RevertChanges struct {
	Name string `arg:"" optional:"" name:"POOL[/BACKEND]" help:"Undo the changes of this backend, or of all backends of this pool."`
	All  bool   `help:"Undo all changes."`
	Output
	Flags
}

// Help is kong's detailed help.
func (*RevertChanges) Help() string {
	return `Backends that were added are drained and removed. Those that were removed come back.

  holdfast changes revert chat/ws1
  holdfast changes revert --all

Exit status: 0 done, 1 failed, 2 wrong arguments.`
}

// Run undoes changes.
func (c *RevertChanges) Run(e *env.Env) error {
	if (c.Name == "") != c.All {
		return env.Usage("what to undo? Give either POOL/BACKEND, POOL or --all")
	}
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		pool, backend, err := c.find(ctx, b)
		if err != nil {
			return err
		}
		list, err := b.Revert(ctx, pool, backend)
		if err != nil {
			return err
		}
		return c.print(e, list, func() error {
			if len(list) == 0 {
				return say(e, "there was nothing to undo")
			}
			if err := changeTable(list).Write(e.Out, e.Width()); err != nil {
				return err
			}
			return say(e, "undone: %s", env.Count(len(list), "change"))
		})
	})
}

// find finds what c names. It looks at the changes first: the backend or the pool of one
// may be gone.
func (c *RevertChanges) find(ctx context.Context, b *client.Client) (pool, backend string, err error) {
	if c.All {
		return "", "", nil
	}
	list, err := b.Changes(ctx)
	if err != nil {
		return "", "", err
	}
	for _, change := range list {
		switch c.Name {
		case change.Pool:
			return change.Pool, "", nil
		case change.Pool + "/" + change.Backend:
			return change.Pool, change.Backend, nil
		}
	}
	pools, err := b.Pools(ctx)
	if err != nil {
		return "", "", err
	}
	pool, backend, err = split(pools, c.Name)
	if err == nil && backend == "" && strings.HasSuffix(c.Name, "/") {
		err = env.Usage("%q has no name of a backend", c.Name)
	}
	return pool, backend, err
}
