package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
)

type runCommand struct {
	Config  string   `short:"c" placeholder:"FILE" help:"Configuration file; without it and without --backend, holdfast.yaml."`
	Listen  []string `placeholder:"ADDRESS" help:"Address to accept clients on, such as :8080. May be given more than once."`
	Backend []string `placeholder:"ADDRESS" help:"A server's address, such as 127.0.0.1:3001. May be given more than once."`
	Admin   string   `placeholder:"ADDRESS" help:"Serve health, metrics and reload here, such as 127.0.0.1:9900 (default: admin.address of the file, else off)."`
}

// Help is kong's detailed help.
func (*runCommand) Help() string {
	return `Signals:
  SIGHUP           take the changed file; with mistakes in it nothing changes
  SIGTERM, SIGINT  close all sessions politely within timeouts.shutdown, then
                   exit; a second one cuts those that are left and ends at once

Exit status: 0 stopped, 1 failed (a port in use, for example) or stopped with
sessions that had to be cut, 2 mistakes in the file or the flags.`
}

func (c *runCommand) options(env *environment) (app.Options, error) {
	o := app.Options{Admin: c.Admin, Version: Version(), LogTo: env.err}
	if len(c.Listen)+len(c.Backend) > 0 {
		if c.Config != "" {
			return o, usage("give either --config or --listen and --backend, not both")
		}
		o.Load = func() (*config.Config, error) {
			cfg, err := config.Quick(c.Listen, c.Backend)
			if err == nil && isTerminal(env.err) {
				cfg.Log.Format = "text"
			}
			return cfg, err
		}
		return o, nil
	}
	o.File = c.Config
	if o.File == "" {
		o.File = "holdfast.yaml"
		if _, err := os.Stat(o.File); err != nil {
			return o, usage("there is no holdfast.yaml here; give -c FILE, or --listen ADDRESS and --backend ADDRESS")
		}
	}
	o.Load = func() (*config.Config, error) { return config.Load(o.File) }
	return o, nil
}

func (c *runCommand) Run(env *environment) error {
	o, err := c.options(env)
	if err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)

	a, err := app.Start(o)
	if err != nil {
		return err
	}
	for {
		select {
		case <-hangups:
			a.Reload() // the log tells what came of it
		case <-stop:
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			go func() {
				<-stop
				cancel()
			}()
			switch cut := a.Shutdown(ctx); {
			case cut == 0:
				return nil
			case ctx.Err() != nil:
				return fmt.Errorf("%s cut at the second signal", count(cut, "session"))
			default:
				return fmt.Errorf("%s cut at the end of timeouts.shutdown", count(cut, "session"))
			}
		}
	}
}

// isTerminal tells whether somebody is likely to read w as it is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
