package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admin"
)

type drainCommand struct {
	adminFlag
	Backend string        `arg:"" placeholder:"POOL/BACKEND" help:"The backend, by the names of its pool and of itself."`
	Timeout time.Duration `default:"-1ns" placeholder:"DURATION" help:"How long its sessions may go on (default: drain.timeout of its pool)."`
	Wait    bool          `help:"Show progress, and return when the backend is empty."`
}

// Run has a backend emptied.
func (c *drainCommand) Run(env *environment) error {
	client := admin.Client{Address: c.Admin}
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	if err := client.Drain(ctx, c.Backend, c.Timeout); err != nil {
		return err
	}
	if !c.Wait {
		fmt.Fprintf(env.out, "%s takes no more sessions\n", c.Backend)
		return nil
	}
	return c.wait(env, client)
}

// wait tells what is left each second, more often where that soon ends.
func (c *drainCommand) wait(env *environment, client admin.Client) error {
	const poll = 250 * time.Millisecond
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
		status, err := client.Status(ctx)
		cancel()
		if err != nil {
			return err
		}
		b := find(&status, c.Backend)
		switch {
		case b == nil || b.Sessions == 0 && b.Drain != nil:
			fmt.Fprintf(env.out, "%s is empty\n", c.Backend)
			return nil
		case b.Drain == nil:
			return fmt.Errorf("%s takes sessions again: somebody has undrained it", c.Backend)
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

func progress(out io.Writer, b *admin.Backend) {
	sessions := fmt.Sprintf("%d sessions left", b.Sessions)
	if b.Sessions == 1 {
		sessions = "1 session left"
	}
	left := max(time.Until(b.Drain.Deadline), 0).Round(time.Second)
	fmt.Fprintf(out, "%s: %s, %v to go\n", b.Name, sessions, left)
}

// find returns the backend that is named POOL/BACKEND; nil if there is none.
func find(s *admin.Status, name string) *admin.Backend {
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
	Backend string `arg:"" placeholder:"POOL/BACKEND" help:"The backend, by the names of its pool and of itself."`
}

// Run has a backend take sessions again.
func (c *undrainCommand) Run(env *environment) error {
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	if err := (admin.Client{Address: c.Admin}).Undrain(ctx, c.Backend); err != nil {
		return err
	}
	fmt.Fprintf(env.out, "%s takes sessions again\n", c.Backend)
	return nil
}
