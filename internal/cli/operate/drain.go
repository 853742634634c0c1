package operate

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Backend is the argument of commands about one backend.
type Backend struct {
	Backend string `arg:"" name:"POOL/BACKEND" help:"Pool and name of the backend, as in holdfast status."`
}

// Emptying are the flags of commands that take a backend's sessions away.
type Emptying struct {
	Timeout *time.Duration `placeholder:"DURATION" help:"Time until the last session is closed, such as 90s; 0 for at once (default: drain.timeout of its pool)."`
	Wait    bool           `help:"Show progress, and return when the backend is empty."`
}

// Drain is "holdfast drain".
type Drain struct {
	Backend
	Emptying
	Output
	Flags
}

// Help is kong's detailed help.
func (*Drain) Help() string {
	return `The backend gets no new sessions. Its sessions are moved to other backends if
the pool has reattach. Otherwise they continue, and those that remain are closed,
evenly, towards the end of the timeout.

  holdfast drain chat/ws1 --wait

"holdfast undrain" ends the drain.

Exit status: 0 drain begun, or with --wait the backend is empty; 1 failed, or the drain
was ended; 2 wrong arguments.`
}

// Run starts a drain.
func (c *Drain) Run(e *env.Env) error {
	return c.empty(e, c.Backend.Backend, &c.Flags, &c.Output, (*client.Client).Drain)
}

// Maint is "holdfast maint".
type Maint struct {
	Backend
	Emptying
	Output
	Flags
}

// Help is kong's detailed help.
func (*Maint) Help() string {
	return `The backend gets no new sessions, its sessions are moved or closed as by a drain, and
it isn't checked any more: nothing is logged about a machine that is off on purpose.
It stays so, also across reloads and restarts, until holdfast ready.

  holdfast maint chat/ws1 --timeout 5m --wait

Exit status: 0 done, or with --wait the backend is empty; 1 failed, or the maintenance
was ended; 2 wrong arguments.`
}

// Run puts a backend into maintenance.
func (c *Maint) Run(e *env.Env) error {
	return c.empty(e, c.Backend.Backend, &c.Flags, &c.Output, (*client.Client).Maint)
}

// empty begins to empty a backend, and waits if that was asked for.
func (c *Emptying) empty(e *env.Env, name string, f *Flags, o *Output,
	begin func(*client.Client, context.Context, string, string, string) (api.BackendResult, error)) error {
	var r api.BackendResult
	pool := ""
	err := f.ask(e, func(ctx context.Context, b *client.Client) (err error) {
		backend := ""
		if pool, backend, err = b.Resolve(ctx, name); err != nil {
			return err
		}
		r, err = begin(b, ctx, pool, backend, duration(c.Timeout))
		return err
	})
	if err != nil {
		return err
	}
	warnings(e, r.Warnings)
	if c.Wait {
		progress := e.Out
		if o.json() {
			progress = e.Err
		}
		if err := wait(e, f, progress, pool, &r.Backend); err != nil {
			return err
		}
	}
	return o.print(e, r, func() error {
		if c.Wait {
			return say(e, "%s is empty", name)
		}
		return say(e, "%s gets no new sessions", name)
	})
}

// wait prints the number of remaining sessions each second until a backend is empty, or
// gone. It updates b.
func wait(e *env.Env, f *Flags, out io.Writer, pool string, b *api.Backend) error {
	const poll = 250 * time.Millisecond
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	c, err := f.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	full := table.Escape(pool + "/" + b.Name)
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(e.Ctx, patience)
		now, err := c.Backend(ctx, pool, b.Name)
		cancel()
		switch {
		case client.IsRefused(err, 404):
			b.Sessions, b.Requests = 0, 0
			return nil
		case err != nil:
			return advise(err)
		}
		*b = now
		leaving := now.Drain != nil || now.Admin != "ready" || now.State == "removed"
		switch {
		case !leaving:
			return fmt.Errorf("%s gets new sessions again: the drain was ended", full)
		case now.Sessions+now.Requests == 0:
			return nil
		case n%4 == 0:
			fmt.Fprintf(out, "%s: %s\n", full, remaining(&now, time.Now()))
		}
		select {
		case <-ticker.C:
		case <-e.Ctx.Done():
			return e.Ctx.Err()
		}
	}
}

// remaining is what a backend still has to lose.
func remaining(b *api.Backend, now time.Time) string {
	what := env.Count(b.Sessions, "session")
	if b.Requests > 0 {
		what += ", " + env.Count(b.Requests, "HTTP request")
	}
	if b.Drain == nil {
		return what + " left"
	}
	return fmt.Sprintf("%s left, %v to go", what, max(b.Drain.Deadline.Sub(now), 0).Round(time.Second))
}

// Undrain is "holdfast undrain".
type Undrain struct {
	Backend
	Output
	Flags
}

// Help is kong's detailed help.
func (*Undrain) Help() string {
	return `Ends a drain: the backend gets new sessions again. Sessions that it still has are no
longer moved or closed.

  holdfast undrain chat/ws1

Exit status: 0 done, 1 failed, 2 wrong arguments.`
}

// Run ends a drain.
func (c *Undrain) Run(e *env.Env) error {
	return change(e, c.Backend.Backend, &c.Flags, &c.Output, "%s gets new sessions again", func(ctx context.Context, b *client.Client, pool, backend string) (api.BackendResult, error) {
		return b.Undrain(ctx, pool, backend)
	})
}

// Ready is "holdfast ready".
type Ready struct {
	Backend
	Output
	Flags
}

// Help is kong's detailed help.
func (*Ready) Help() string {
	return `Ends maintenance or a drain: the backend is checked again, and gets new sessions as
soon as its health checks allow it.

  holdfast ready chat/ws1

Exit status: 0 done, 1 failed, 2 wrong arguments.`
}

// Run ends maintenance.
func (c *Ready) Run(e *env.Env) error {
	return change(e, c.Backend.Backend, &c.Flags, &c.Output, "%s is ready", func(ctx context.Context, b *client.Client, pool, backend string) (api.BackendResult, error) {
		return b.Ready(ctx, pool, backend)
	})
}

// change changes a backend, and says so; the format gets its name.
func change(e *env.Env, name string, f *Flags, o *Output, format string, do func(ctx context.Context, b *client.Client, pool, backend string) (api.BackendResult, error)) error {
	return f.ask(e, func(ctx context.Context, b *client.Client) error {
		pool, backend, err := b.Resolve(ctx, name)
		if err != nil {
			return err
		}
		r, err := do(ctx, b, pool, backend)
		if err != nil {
			return err
		}
		warnings(e, r.Warnings)
		return o.print(e, r, func() error { return say(e, format, name) })
	})
}
