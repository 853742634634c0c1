// Package cli is the command line of holdfast.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/holdfast-ws/holdfast/internal/admin"
	"github.com/holdfast-ws/holdfast/internal/config"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // also a configuration with mistakes
)

const description = `holdfast keeps WebSockets connected: a load balancer that sees messages,
so that it can close politely, at a rate, and reload without touching a session.

Two ways to begin:

  holdfast demo
      three chat servers with a balancer in front, to be broken by hand

  holdfast run --listen :8080 --backend 127.0.0.1:3001 --backend 127.0.0.1:3002
      a balancer in front of your own servers, with no file at all

Then write a file (docs/config.md has every key), check it, run it, change it:

  holdfast check -c holdfast.yaml
  holdfast run -c holdfast.yaml
  holdfast reload`

type commands struct {
	Run         runCommand         `cmd:"" help:"Run the balancer, from a file or from flags."`
	Check       checkCommand       `cmd:"" help:"Check a configuration file and tell every mistake in it."`
	Reload      reloadCommand      `cmd:"" help:"Have a running balancer take its changed file. A file with mistakes changes nothing."`
	Drain       drainCommand       `cmd:"" help:"Empty a backend of a running balancer: no new sessions, those it has go on and are closed politely in the end."`
	Undrain     undrainCommand     `cmd:"" help:"Have a drained backend take sessions again."`
	Status      statusCommand      `cmd:"" help:"Show the backends and sessions of a running balancer."`
	Demo        demoCommand        `cmd:"" help:"Run a chat of several servers behind a balancer, to try things out."`
	Doctor      doctorCommand      `cmd:"" help:"Try whether a server of yours does what it should behind a balancer, and say what to mend."`
	Simulate    simulateCommand    `cmd:"" help:"Replay deploys, deaths and scale-outs of a pool with a million sessions, and plot them."`
	Bench       benchCommand       `cmd:"" help:"Load a WebSocket server or balancer and measure it."`
	BenchServer benchServerCommand `cmd:"" name:"bench-server" help:"A fast server for bench to talk to: echo, broadcast, sink."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
	DemoServer  demoServerCommand  `cmd:"" name:"demo-server" hidden:"" help:"One chat server of the demo."`
}

// context of a command.
type environment struct {
	out, err io.Writer
	ctx      context.Context
}

// Main runs the command that args name and returns the exit status.
func Main(args []string, out, errOut io.Writer) int {
	var c commands
	status := -1
	parser, err := kong.New(&c,
		kong.Name("holdfast"),
		kong.Description(description),
		kong.Writers(out, errOut),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Exit(func(code int) { status = code; panic(exited{}) }),
	)
	if err != nil {
		panic(err) // a mistake in the struct above
	}
	env := &environment{out: out, err: errOut, ctx: context.Background()}
	return run(parser, args, env, &status)
}

// exited unwinds from kong's --help, which would end the process.
type exited struct{}

func run(parser *kong.Kong, args []string, env *environment, status *int) (code int) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(exited); !ok {
				panic(p)
			}
			code = *status
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(env.err, "holdfast: %v\n", err)
		fmt.Fprintln(env.err, `Run "holdfast --help", or "holdfast COMMAND --help".`)
		return exitUsage
	}
	err = k.Run(env)
	var mistakes config.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &mistakes):
		fmt.Fprintln(env.err, mistakes)
		return exitUsage
	case errors.Is(err, errUsage):
		fmt.Fprintf(env.err, "holdfast: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(env.err, "holdfast: %v\n", err)
		return exitFailure
	}
}

var errUsage = errors.New("wrong usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%s (%w)", fmt.Sprintf(format, args...), errUsage)
}

type checkCommand struct {
	Config string `short:"c" default:"holdfast.yaml" placeholder:"FILE" help:"The file to check (default holdfast.yaml)."`
}

// Run tells warnings and mistakes; nothing is started and no name looked up.
func (c *checkCommand) Run(env *environment) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(env.err, "%v (warning)\n", w)
	}
	backends, found := 0, ""
	for _, p := range cfg.Pools {
		backends += len(p.Backends)
		if p.DNS != nil || p.File != "" {
			found = " and those that dns and file find"
		}
	}
	fmt.Fprintf(env.out, "%s: ok (%s, %s, %s, %s%s)\n", c.Config, count(len(cfg.Listeners), "listener"),
		count(len(cfg.Routes), "route"), count(len(cfg.Pools), "pool"), count(backends, "backend"), found)
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// adminFlag finds a running balancer.
type adminFlag struct {
	Admin string `env:"HOLDFAST_ADMIN" default:"127.0.0.1:9900" placeholder:"ADDRESS" help:"Admin address of the running balancer (default 127.0.0.1:9900; also $$HOLDFAST_ADMIN)."`
}

type reloadCommand struct{ adminFlag }

func (c *reloadCommand) Run(env *environment) error {
	ctx, cancel := context.WithTimeout(env.ctx, 30*time.Second)
	defer cancel()
	warnings, err := admin.Client{Address: c.Admin}.Reload(ctx)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintf(env.err, "%s (warning)\n", w)
	}
	fmt.Fprintln(env.out, "reloaded")
	return nil
}

type versionCommand struct{}

func (versionCommand) Run(env *environment) error {
	fmt.Fprintf(env.out, "holdfast %s %s %s/%s\n", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// Version is that of the module as built: a tag, or the commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

// untilStopped is done at the first SIGINT or SIGTERM.
func untilStopped(parent context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
}
