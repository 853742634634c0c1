//go:build !nodemo

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

func (c *demoServerCommand) Run(e *env.Env) error {
	return demo.Serve(e.Ctx, demo.ServerOptions{Name: c.Name, Listen: c.Listen, Stdout: e.Out, Commands: os.Stdin})
}
