package cli

import (
	"context"
	"os"
	"time"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/demo"
)

type demoCommand struct {
	Listen  string `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Address of the balancer (default 127.0.0.1:8080)."`
	Servers int    `default:"3" placeholder:"N" help:"How many chat servers (default 3)."`
	Admin   string `placeholder:"ADDRESS" help:"Admin address of the balancer, for status and metrics (default: off)."`
	Log     string `default:"warn" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Level of the balancer's log: debug, info, warn (default) or error."`
}

// Help is kong's detailed help.
func (*demoCommand) Help() string {
	return `Everything runs on this machine and ends with Ctrl-C. Crash a server from the
page, or kill one of the processes it prints, and see what happens.`
}

func (c *demoCommand) Run(env *environment) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if c.Servers < 1 {
		return usage("--servers must be at least 1")
	}
	ctx, cancel := untilStopped(env.ctx)
	defer cancel()
	return demo.Run(ctx, demo.Options{
		Listen: c.Listen, Servers: c.Servers, Stdout: env.out, Executable: exe,
		Balance: func(ctx context.Context, listen string, backends []demo.Backend, ready func(string)) error {
			return c.balance(ctx, env, listen, backends, ready)
		},
	})
}

// balance runs a balancer like that of "holdfast run" in this process.
func (c *demoCommand) balance(ctx context.Context, env *environment, listen string, backends []demo.Backend, ready func(string)) error {
	a, err := app.Start(app.Options{
		Admin: c.Admin, Version: Version(), LogTo: env.err,
		Load: func() (*config.Config, error) {
			cfg, err := config.Quick([]string{listen}, addresses(backends))
			if err != nil {
				return nil, err
			}
			for i := range backends {
				cfg.Pools[0].Backends[i].Name = backends[i].Name
			}
			cfg.Log = config.Log{Format: "text", Level: c.Log}
			cfg.Timeouts.Shutdown = time.Second // nobody waits for a demo
			return cfg, nil
		},
	})
	if err != nil {
		return err
	}
	ready(a.Addresses()[0])
	<-ctx.Done()
	a.Shutdown(context.WithoutCancel(ctx))
	return nil
}

func addresses(backends []demo.Backend) []string {
	var all []string
	for _, b := range backends {
		all = append(all, b.Address)
	}
	return all
}

type demoServerCommand struct {
	Name   string `required:""`
	Listen string `required:""`
	Hub    string `required:""`
}

func (c *demoServerCommand) Run(env *environment) error {
	ctx, cancel := untilStopped(env.ctx)
	defer cancel()
	return demo.Serve(ctx, demo.ServerOptions{Name: c.Name, Listen: c.Listen, Hub: c.Hub, Stdout: env.out})
}
