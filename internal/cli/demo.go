package cli

import (
	"os"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/demo"
)

type demoCommand struct {
	Listen  string `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Address of the balancer (default 127.0.0.1:8080)."`
	Servers int    `default:"3" placeholder:"N" help:"How many chat servers to begin with (default 3)."`
	Guests  int    `default:"60" placeholder:"N" help:"How many sessions of the demo's own there are, to have something to watch (default 60)."`
	Redis   string `placeholder:"URL" help:"Redis server that the chat servers share, such as redis://localhost:6379 (default: the demo has one of its own)."`
	Admin   string `placeholder:"ADDRESS" help:"Admin address of the balancer, for status and metrics (default: off)."`
	Log     string `default:"warn" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Level of the balancer's log: debug, info, warn (default) or error."`
}

// Help is kong's detailed help.
func (*demoCommand) Help() string {
	return `Everything runs on this machine and ends with Ctrl-C. Drain, kill and add
servers from the page, or kill one of the processes it prints, and see what
happens. Who can open the page can do that, too.`
}

func (c *demoCommand) Run(env *environment) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if c.Servers < 1 || c.Servers > demo.MostServers {
		return usage("--servers must be 1 to %d", demo.MostServers)
	}
	if c.Guests < 0 || c.Guests > 1000 {
		return usage("--guests must be 0 to 1000")
	}
	// So that a mistake in it is told of the flag, not of a file nobody wrote.
	if _, err := config.Quick([]string{c.Listen}, []string{"127.0.0.1:1"}); err != nil {
		return err
	}
	ctx, cancel := untilStopped(env.ctx)
	defer cancel()
	return demo.Run(ctx, demo.Options{
		Listen: c.Listen, Servers: c.Servers, Guests: c.Guests, Redis: c.Redis, LogLevel: c.Log,
		Stdout: env.out, Executable: exe,
		Balance: func(file string) (demo.Balancer, error) {
			return app.Start(app.Options{
				Load: func() (*config.Config, error) { return config.Load(file) }, File: file,
				Admin: c.Admin, Version: Version(), LogTo: env.err,
			})
		},
	})
}

type demoServerCommand struct {
	Name   string `required:""`
	Listen string `required:""`
}

func (c *demoServerCommand) Run(env *environment) error {
	return demo.Serve(env.ctx, demo.ServerOptions{Name: c.Name, Listen: c.Listen, Stdout: env.out, Orders: os.Stdin})
}
