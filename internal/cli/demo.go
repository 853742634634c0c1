package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/tool/demo"
)

type demoCommand struct {
	Listen  string `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Address of the balancer and of the page (default 127.0.0.1:8080)."`
	Servers int    `default:"3" placeholder:"N" help:"Chat servers to start, 1 to 9 (default 3)."`
	Guests  int    `default:"60" placeholder:"N" help:"Sessions that the demo opens itself, 0 to 1000, so that there is something to watch (default 60)."`
	Redis   string `placeholder:"URL" help:"Redis server for the chat servers, such as redis://localhost:6379 (default: one that is built in)."`
	Admin   string `default:"127.0.0.1:0" placeholder:"ADDRESS" help:"Admin address of the balancer, with its dashboard, status and metrics (default: any free port of 127.0.0.1)."`
	Log     string `default:"warn" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Level of the balancer's log: debug, info, warn or error (default warn)."`
}

// Help is kong's detailed help.
func (*demoCommand) Help() string {
	return `Open the page that it prints. On the page you can drain, kill and add servers, and
watch the sessions; it links to the balancer's dashboard. You can also kill one of the
processes that it prints. Anyone who can open the page can do the same.

  holdfast demo
  holdfast demo --servers 5 --admin 127.0.0.1:9900

Everything runs on this machine. Ctrl-C stops it.`
}

func (c *demoCommand) Run(e *env.Env) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if c.Servers < 1 || c.Servers > demo.MaxServers {
		return env.Usage("--servers must be 1 to %d", demo.MaxServers)
	}
	if c.Guests < 0 || c.Guests > 1000 {
		return env.Usage("--guests must be 0 to 1000")
	}
	// Check it here, so that an error names the flag and not the generated file.
	if _, err := config.Quick(config.Flags{Listen: []string{c.Listen}, Backend: []string{"127.0.0.1:1"}}); err != nil {
		return err
	}
	admin, err := adminAddress(c.Admin)
	if err != nil {
		return err
	}
	if err := checkFree("--listen", c.Listen); err != nil {
		return err
	}
	if c.Admin != "" {
		if err := checkFree("--admin", admin.String()); err != nil {
			return err
		}
	}
	ctx, cancel := untilStopped(e.Ctx)
	defer cancel()
	return demo.Run(ctx, demo.Options{
		Listen: c.Listen, Servers: c.Servers, Guests: c.Guests, Redis: c.Redis, LogLevel: c.Log,
		Stdout: e.Out, Executable: exe,
		Balance: func(file string) (demo.Balancer, error) {
			return app.Start(app.Options{
				Load: func() (*config.Config, error) { return yaml.Load(file) }, File: file,
				Admin: admin, Version: Version(), LogTo: e.Err,
			})
		},
	})
}

// checkFree returns an error if the demo can't listen on an address. It is called
// before any server is started.
func checkFree(flag, address string) error {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program: use another address, such as %s 127.0.0.1:0 for any free port", address, flag)
	case err != nil:
		return fmt.Errorf("%s %s: %w", flag, address, err)
	}
	return l.Close()
}

type demoServerCommand struct {
	Name   string `required:""`
	Listen string `required:""`
}

func (c *demoServerCommand) Run(e *env.Env) error {
	return demo.Serve(e.Ctx, demo.ServerOptions{Name: c.Name, Listen: c.Listen, Stdout: e.Out, Commands: os.Stdin})
}
