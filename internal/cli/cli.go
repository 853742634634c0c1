// Package cli is the command line of holdfast: it parses arguments, runs one
// command and returns the exit status. cmd/holdfast calls Main. The commands
// only convert flags to options and print results; the work is done by
// internal/app (run, demo), internal/ops/client (those in cli/operate) and
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
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // also an invalid configuration
)

// Main runs the command that args name and returns the exit status.
func Main(args []string, out, errOut io.Writer) int {
	status := -1
	parser := newParser(
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { status = code; panic(exited{}) }),
	)
	e := &env.Env{In: os.Stdin, Out: out, Err: errOut, Ctx: context.Background()}
	return run(parser, args, e, &status)
}

// exited unwinds the stack after kong's --help, which would end the process.
type exited struct{}

func run(parser *kong.Kong, args []string, e *env.Env, status *int) (code int) {
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
		fmt.Fprintf(e.Err, "holdfast: %s\n", explain(parser, args, err))
		fmt.Fprintln(e.Err, `Run "holdfast --help", or "holdfast COMMAND --help".`)
		return exitUsage
	}
	err = k.Run(e)
	var invalid config.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &invalid):
		fmt.Fprintln(e.Err, invalid)
		return exitUsage
	case errors.As(err, new(env.UsageError)):
		fmt.Fprintf(e.Err, "holdfast: %v\n", err)
		return exitUsage
	default:
		// Texts of a balancer or of a server may be in it.
		lines := strings.Split(err.Error(), "\n")
		for i := range lines {
			lines[i] = table.Escape(lines[i])
		}
		fmt.Fprintf(e.Err, "holdfast: %s\n", strings.Join(lines, "\n"))
		return exitFailure
	}
}

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

func (c *checkCommand) Run(e *env.Env) error {
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
	report(e.Out, res.Notes)
	if err != nil {
		return err
	}
	cfg := res.Config
	if cfg.Origin != "" {
		fmt.Fprintln(e.Out, cfg.Origin)
	}
	for _, w := range cfg.Warnings[res.Reported:] {
		e.Warn(w)
	}
	wrong, warnings := app.CheckFiles(cfg)
	for _, w := range warnings {
		e.Warn(w)
	}
	if len(wrong) > 0 {
		return wrong
	}
	backends, discovered := 0, ""
	for _, p := range cfg.Pools {
		if p.File != "" {
			if _, err := discovery.ReadFile(p.File); err != nil {
				w := config.Error{Place: cfg.Place(config.PoolPath(p.Name)), Msg: fmt.Sprintf("pool %s: %v; until that is fixed, no backends come from there", p.Name, err)}
				e.Warn(w)
			}
		}
		backends += len(p.Backends)
		if p.Discovers() {
			discovered = " and those from dns, aws and file"
		}
	}
	fmt.Fprintf(e.Out, "%s: ok (%s, %s, %s, %s%s)\n", file, env.Count(len(cfg.Listeners), "listener"),
		env.Count(len(cfg.Routes), "route"), env.Count(len(cfg.Pools), "pool"), env.Count(backends, "backend"), discovered)
	return nil
}

type versionCommand struct{}

func (versionCommand) Run(e *env.Env) error {
	fmt.Fprintf(e.Out, "holdfast %s %s %s/%s\n", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// version is set by the linker in releases.
var version string

// Version is the version of the release, or that of the module as built: a tag, or the
// commit.
func Version() string {
	if version != "" {
		return version
	}
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
