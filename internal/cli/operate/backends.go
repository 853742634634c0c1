package operate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Backends is "holdfast backends".
type Backends struct {
	List   ListBackends  `cmd:"" help:"List backends, with where each comes from and its last health check."`
	Add    AddBackend    `cmd:"" help:"Add a backend to a pool."`
	Remove RemoveBackend `cmd:"" help:"Drain a backend and remove it."`
	Weight WeighBackend  `cmd:"" help:"Change the weight of a backend."`
}

// Help is kong's detailed help.
func (*Backends) Help() string {
	return `Changes hold across reloads and restarts, until "holdfast changes revert".`
}

// ListBackends is "holdfast backends list".
type ListBackends struct {
	Pool string `arg:"" optional:"" name:"POOL" help:"Only the backends of this pool."`
	Output
	Flags
}

// Help is kong's detailed help.
func (*ListBackends) Help() string {
	return `SOURCE is file (the configuration), runtime (added with backends add), or a source of
discovery. CHANGED says what was changed at run time.

  holdfast backends list chat

Exit status: 0 shown, 1 failed, 2 wrong arguments.`
}

// Run lists backends.
func (c *ListBackends) Run(e *env.Env) error {
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		var pools []api.Pool
		var value any
		if c.Pool == "" {
			list, err := b.Pools(ctx)
			if err != nil {
				return err
			}
			pools, value = list, list
		} else {
			list, err := b.Backends(ctx, c.Pool)
			if err != nil {
				return err
			}
			pools, value = []api.Pool{{Name: c.Pool, Backends: list}}, list
		}
		return c.print(e, value, func() error { return sourceTable(pools, time.Now()).Write(e.Out, e.Width()) })
	})
}

func sourceTable(pools []api.Pool, now time.Time) *table.Table {
	t := table.New(table.Column{Title: "BACKEND"}, table.Column{Title: "ADDRESS", Cut: true}, table.Column{Title: "STATE"}, table.Column{Title: "SINCE", Right: true, Drop: 3},
		table.Column{Title: "WEIGHT"}, table.Column{Title: "SOURCE", Drop: 1, Cut: true}, table.Column{Title: "CHANGED", Drop: 2}, table.Column{Title: "LAST CHECK"})
	for i := range pools {
		for j := range pools[i].Backends {
			b := &pools[i].Backends[j]
			since := ""
			if b.Since != nil {
				since = short(now.Sub(*b.Since))
			}
			t.Row(pools[i].Name+"/"+b.Name, b.Address, stateOf(b), since, weight(b), b.Source, strings.Join(b.Changed, " "), lastCheck(b.LastCheck, now))
		}
	}
	return t
}

// lastCheck is the result of a health check, "" for none.
func lastCheck(c *api.Check, now time.Time) string {
	switch {
	case c == nil:
		return ""
	case c.OK:
		return fmt.Sprintf("ok, %s ago, took %s", short(now.Sub(c.At)), milliseconds(c.Duration))
	}
	return fmt.Sprintf("failed, %s ago: %s", short(now.Sub(c.At)), c.Reason)
}

func milliseconds(s float64) string { return fmt.Sprintf("%.1fms", s*1000) }

// AddBackend is "holdfast backends add".
type AddBackend struct {
	Name        string `arg:"" name:"POOL[/NAME]" help:"Pool, and name of the new backend (default: its address)."`
	Address     string `arg:"" name:"ADDRESS" help:"Address, such as 10.0.0.3:3000."`
	Weight      *int   `placeholder:"N" help:"Weight, 1 to 256 (default 1)."`
	MaxSessions int    `placeholder:"N" help:"Most sessions that it may have (default: no limit)."`
	HealthPort  int    `placeholder:"PORT" help:"Port for health checks (default: as the pool has it)."`
	Backup      bool   `help:"It gets sessions only while no other backend can."`
	Output
	Flags
}

// Help is kong's detailed help.
func (*AddBackend) Help() string {
	return `The backend has the settings of its pool and gets sessions as soon as its health checks
allow it.

  holdfast backends add chat/ws3 10.0.0.3:3000 --weight 2

Exit status: 0 added, 1 failed, 2 wrong arguments.`
}

// Run adds a backend.
func (c *AddBackend) Run(e *env.Env) error {
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		pools, err := b.Pools(ctx)
		if err != nil {
			return err
		}
		pool, name, err := split(pools, c.Name)
		if err != nil {
			return err
		}
		r, err := b.AddBackend(ctx, pool, api.NewBackend{Name: name, Address: c.Address, Weight: c.Weight, MaxSessions: c.MaxSessions, HealthPort: c.HealthPort, Backup: c.Backup})
		if err != nil {
			return err
		}
		warnings(e, r.Warnings)
		return c.print(e, r, func() error { return say(e, "%s/%s added", pool, r.Backend.Name) })
	})
}

// split finds the pool in POOL or POOL/NAME. Both may have slashes, so the longest pool
// that fits is meant.
func split(pools []api.Pool, text string) (pool, name string, err error) {
	found, names := false, []string{}
	for i := range pools {
		p := pools[i].Name
		names = append(names, p)
		if rest, ok := strings.CutPrefix(text, p); ok && (rest == "" || rest[0] == '/') && (!found || len(p) > len(pool)) {
			found, pool, name = true, p, strings.TrimPrefix(rest, "/")
		}
	}
	if !found {
		return "", "", fmt.Errorf("%q begins with no pool: the pools are %s", text, strings.Join(names, ", "))
	}
	return pool, name, nil
}

// RemoveBackend is "holdfast backends remove".
type RemoveBackend struct {
	Backend
	Emptying
	Output
	Flags
}

// Help is kong's detailed help.
func (*RemoveBackend) Help() string {
	return `The backend is drained, and gone when it has no session left.

  holdfast backends remove chat/ws3 --timeout 90s --wait

Exit status: 0 being drained, or with --wait gone; 1 failed; 2 wrong arguments.`
}

// Run removes a backend.
func (c *RemoveBackend) Run(e *env.Env) error {
	return c.empty(e, c.Backend.Backend, &c.Flags, &c.Output, (*client.Client).RemoveBackend)
}

// WeighBackend is "holdfast backends weight".
type WeighBackend struct {
	Backend
	Weight int `arg:"" name:"WEIGHT" help:"New weight, 1 to 256, as in the file."`
	Output
	Flags
}

// Help is kong's detailed help.
func (*WeighBackend) Help() string {
	return `  holdfast backends weight chat/ws1 3

Exit status: 0 changed, 1 failed, 2 wrong arguments.`
}

// Run changes a weight.
func (c *WeighBackend) Run(e *env.Env) error {
	return change(e, c.Backend.Backend, &c.Flags, &c.Output, fmt.Sprintf("%%s has weight %d", c.Weight), func(ctx context.Context, b *client.Client, pool, backend string) (api.BackendResult, error) {
		return b.PatchBackend(ctx, pool, backend, api.BackendPatch{Weight: &c.Weight})
	})
}
