package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

type drainCommand struct {
	adminFlag
	Backend string         `arg:"" name:"POOL/BACKEND" help:"Pool and name of the backend, as in holdfast status."`
	Timeout *time.Duration `placeholder:"DURATION" help:"Time until the last session is closed, such as 90s; 0 for at once (default: drain.timeout of its pool)."`
	Wait    bool           `help:"Show progress, and return when the backend is empty."`
}

// Help is kong's detailed help.
func (*drainCommand) Help() string {
	return `The backend gets no new sessions. Its sessions are moved to other backends if
the pool has reattach. Otherwise they continue, and those that remain are closed,
evenly, towards the end of the timeout.

  holdfast drain chat/ws1 --wait

"holdfast undrain" ends the drain.

Exit status: 0 drain begun, or with --wait the backend is empty; 1 failed.`
}

// Run starts a drain.
func (c *drainCommand) Run(env *environment) error {
	balancer, err := c.client()
	if err != nil {
		return err
	}
	defer balancer.Close()
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	timeout := "" // the pool's
	if c.Timeout != nil {
		timeout = c.Timeout.String()
	}
	pool, name, err := balancer.Resolve(ctx, c.Backend)
	if err != nil {
		return err
	}
	result, err := balancer.Drain(ctx, pool, name, timeout)
	if err != nil {
		return err
	}
	for _, w := range result.Warnings {
		env.warn(w)
	}
	if !c.Wait {
		fmt.Fprintf(env.out, "%s gets no new sessions\n", c.Backend)
		return nil
	}
	return c.wait(env, balancer)
}

// wait prints the number of remaining sessions each second until the backend is
// empty.
func (c *drainCommand) wait(env *environment, balancer *client.Client) error {
	const poll = 250 * time.Millisecond
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
		status, err := balancer.Status(ctx)
		cancel()
		if err != nil {
			return err
		}
		b := find(&status, c.Backend)
		switch {
		case b == nil || b.Sessions+b.Requests == 0 && b.Drain != nil:
			fmt.Fprintf(env.out, "%s is empty\n", c.Backend)
			return nil
		case b.Drain == nil:
			return fmt.Errorf("%s gets new sessions again: the drain was ended", c.Backend)
		case n%4 == 0:
			progress(env.out, b)
		}
		select {
		case <-ticker.C:
		case <-env.ctx.Done():
			return env.ctx.Err()
		}
	}
}

func progress(out io.Writer, b *api.Backend) {
	what := count(b.Sessions, "session")
	if b.Requests > 0 {
		what += ", " + count(b.Requests, "HTTP request")
	}
	left := max(time.Until(b.Drain.Deadline), 0).Round(time.Second)
	fmt.Fprintf(out, "%s: %s left, %v to go\n", b.Name, what, left)
}

// find returns the backend named POOL/BACKEND, or nil.
func find(s *api.Status, name string) *api.Backend {
	for _, p := range s.Pools {
		for i := range p.Backends {
			if b := &p.Backends[i]; p.Name+"/"+b.Name == name && b.State != "removed" {
				return b
			}
		}
	}
	return nil
}

type undrainCommand struct {
	adminFlag
	Backend string `arg:"" name:"POOL/BACKEND" help:"Pool and name of the backend, as in holdfast status."`
}

// Help is kong's detailed help.
func (*undrainCommand) Help() string {
	return `Sessions that the backend still has are no longer moved or closed.

  holdfast undrain chat/ws1

Exit status: 0 done, 1 failed.`
}

// Run ends a drain.
func (c *undrainCommand) Run(env *environment) error {
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	balancer, err := c.client()
	if err != nil {
		return err
	}
	defer balancer.Close()
	pool, name, err := balancer.Resolve(ctx, c.Backend)
	if err != nil {
		return err
	}
	if _, err := balancer.Undrain(ctx, pool, name); err != nil {
		return err
	}
	fmt.Fprintf(env.out, "%s gets new sessions again\n", c.Backend)
	return nil
}
