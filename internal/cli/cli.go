// Package cli is the command line of holdfast: it parses arguments, runs one
// command and returns the exit status. cmd/holdfast calls Main. The commands
// only convert flags to options and print results; the work is done by
// internal/app (run, demo), internal/ops/client (reload, drain, status) and
// internal/tool (doctor, simulate, bench).
package cli

import (
	"cmp"
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

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // also an invalid configuration
)

const description = `holdfast is a load balancer for WebSockets. A reload doesn't affect live sessions.
Drains and shutdowns close sessions with a close code, spread over time; drains
can also move sessions to other backends.

To try it:

  holdfast demo
      three chat servers behind a balancer, to drain and kill by hand

  holdfast run --listen :8080 --backend 127.0.0.1:3001 --backend 127.0.0.1:3002
      a balancer in front of your own servers, without a configuration file

To run it with a configuration file (docs/config.md lists every key):

  holdfast check -c holdfast.yaml
  holdfast run -c holdfast.yaml
  holdfast reload

To use the configuration of another balancer (docs/migrate.md):

  holdfast run -c nginx.conf
  holdfast import nginx nginx.conf -o holdfast.yaml

"holdfast help COMMAND" shows the help of a command.`

type commands struct {
	Run         runCommand         `cmd:"" help:"Run the balancer."`
	Check       checkCommand       `cmd:"" help:"Check a configuration file and report all its errors."`
	Import      importCommand      `cmd:"" help:"Write the configuration of another balancer as a holdfast.yaml."`
	Schema      schemaCommand      `cmd:"" help:"Print a JSON Schema of configuration files, for editors."`
	Reload      reloadCommand      `cmd:"" help:"Reload the configuration of a running balancer."`
	Drain       drainCommand       `cmd:"" help:"Drain a backend, so that it can be restarted or removed."`
	Undrain     undrainCommand     `cmd:"" help:"End a drain: the backend gets new sessions again."`
	Close       closeCommand       `cmd:"" help:"Close the sessions of a client, found by a claim of its token."`
	Status      statusCommand      `cmd:"" help:"Show the backends and sessions of a running balancer."`
	Demo        demoCommand        `cmd:"" help:"Run a chat of several servers behind a balancer, to try things out."`
	Doctor      doctorCommand      `cmd:"" help:"Test whether a WebSocket server behaves well behind a balancer."`
	Simulate    simulateCommand    `cmd:"" help:"Simulate deploys, failures and scale-outs with many sessions."`
	Bench       benchCommand       `cmd:"" help:"Load-test a WebSocket server or balancer."`
	BenchServer benchServerCommand `cmd:"" name:"bench-server" help:"Run a fast WebSocket server for bench to connect to."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
	DemoServer  demoServerCommand  `cmd:"" name:"demo-server" hidden:"" help:"Run one chat server of the demo."`
}

// environment is what every command gets: where to write, and a context that
// ends with the process.
type environment struct {
	out, err io.Writer
	ctx      context.Context
}

func (e *environment) warn(what any) { fmt.Fprintf(e.err, "%v (warning)\n", what) }

// Main runs the command that args name and returns the exit status.
func Main(args []string, out, errOut io.Writer) int {
	var c commands
	status := -1
	parser, err := kong.New(&c,
		kong.Name("holdfast"),
		kong.Description(description),
		kong.Writers(out, errOut),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		durations,
		kong.Exit(func(code int) { status = code; panic(exited{}) }),
	)
	if err != nil {
		panic(err) // commands is invalid
	}
	parser.Model.HelpFlag.Help = "Show this help."
	env := &environment{out: out, err: errOut, ctx: context.Background()}
	return run(parser, args, env, &status)
}

// exited unwinds the stack after kong's --help, which would end the process.
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
	args = normalize(args)
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(env.err, "holdfast: %s\n", explain(parser, args, err))
		fmt.Fprintln(env.err, `Run "holdfast --help", or "holdfast COMMAND --help".`)
		return exitUsage
	}
	err = k.Run(env)
	var invalid config.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &invalid):
		fmt.Fprintln(env.err, invalid)
		return exitUsage
	case errors.As(err, new(usageError)):
		fmt.Fprintf(env.err, "holdfast: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(env.err, "holdfast: %v\n", err)
		return exitFailure
	}
}

// usageError is an error in the arguments: the exit status is 2.
type usageError string

func (e usageError) Error() string { return string(e) }

func usage(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

type checkCommand struct {
	Config string `short:"c" placeholder:"FILE" help:"Same as the argument."`
	File   string `arg:"" optional:"" name:"FILE" help:"File to check (default holdfast.yaml)."`
	formatFlags
}

// Help is kong's detailed help.
func (*checkCommand) Help() string {
	return `Prints errors and warnings with line and column. It reads the certificates and
other files that the configuration names, too. It starts nothing and makes no DNS
queries. A certificate that has expired is an error here. For run and reload it is a
warning, so that a restart just then ends nothing.

  holdfast check -c holdfast.yaml

Of another balancer's file, it prints what becomes of each directive.

Exit status: 0 valid, 2 errors.`
}

func (c *checkCommand) Run(env *environment) error {
	file, err := oneFile(c.Config, c.File)
	if err != nil {
		return err
	}
	file = cmp.Or(file, "holdfast.yaml")
	loader, err := c.loader()
	if err != nil {
		return err
	}
	res, err := loader.Load(file)
	report(env.out, res.Notes)
	if err != nil {
		return err
	}
	cfg := res.Config
	if cfg.Origin != "" {
		fmt.Fprintln(env.out, cfg.Origin)
	}
	for _, w := range cfg.Warnings[res.Reported:] {
		env.warn(w)
	}
	wrong, warnings := app.CheckFiles(cfg)
	for _, w := range warnings {
		env.warn(w)
	}
	if len(wrong) > 0 {
		return wrong
	}
	backends, discovered := 0, ""
	for _, p := range cfg.Pools {
		if p.File != "" {
			if _, err := discovery.ReadFile(p.File); err != nil {
				w := config.Error{Place: cfg.Place(config.PoolPath(p.Name)), Msg: fmt.Sprintf("pool %s: %v; until that is fixed, no backends come from there", p.Name, err)}
				env.warn(w)
			}
		}
		backends += len(p.Backends)
		if p.Discovers() {
			discovered = " and those from dns, aws and file"
		}
	}
	fmt.Fprintf(env.out, "%s: ok (%s, %s, %s, %s%s)\n", file, count(len(cfg.Listeners), "listener"),
		count(len(cfg.Routes), "route"), count(len(cfg.Pools), "pool"), count(backends, "backend"), discovered)
	return nil
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// adminFlag is the flag of commands that talk to a running balancer.
type adminFlag struct {
	Admin string `env:"HOLDFAST_ADMIN" placeholder:"ADDRESS" help:"Admin address of the running balancer (default 127.0.0.1:9900)."`
}

// client returns the client of the balancer that is meant.
func (f adminFlag) client() (*client.Client, error) {
	return client.New(client.Options{Address: f.Admin})
}

type reloadCommand struct{ adminFlag }

// Help is kong's detailed help.
func (*reloadCommand) Help() string {
	return `The balancer reads its file again. Live sessions are not affected. If the file
has errors, they are printed and nothing changes. SIGHUP does the same, and
reports to the log.

  holdfast reload

Exit status: 0 reloaded, 1 failed.`
}

func (c *reloadCommand) Run(env *environment) error {
	ctx, cancel := context.WithTimeout(env.ctx, 30*time.Second)
	defer cancel()
	balancer, err := c.client()
	if err != nil {
		return err
	}
	defer balancer.Close()
	result, err := balancer.Reload(ctx)
	if err != nil {
		return err
	}
	for _, w := range result.Warnings {
		env.warn(w)
	}
	fmt.Fprintln(env.out, "reloaded")
	return nil
}

type versionCommand struct{}

func (versionCommand) Run(env *environment) error {
	fmt.Fprintf(env.out, "holdfast %s %s %s/%s\n", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// Version is the version of the module as built: a tag, or the commit.
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

// untilStopped returns a context that is canceled at the first SIGINT or
// SIGTERM.
func untilStopped(parent context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
}
