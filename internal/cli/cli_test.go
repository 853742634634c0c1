//go:build unix

// The scripts send signals, which Windows doesn't have.

package cli_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-ws/holdfast/internal/cli"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/formats"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"holdfast": func() {
			formats.All = append([]formats.Format{testFormat}, formats.All...) // the words of its files are those of others, too
			os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
		},
	})
}

// testFormat is a format of another balancer: lines "open ADDRESS", "server ADDRESS",
// "idle DURATION", "fast", "slow", "user NAME" and "program". The first line is "# test".
var testFormat = formats.Format{
	Name: "test", What: "test configuration",
	Detect: func(_ string, data []byte) bool { return strings.HasPrefix(string(data), "# test\n") },
	Import: func(paths []string, o importer.Options) (*importer.Result, error) {
		r := importer.Report{AcceptLoss: o.AcceptLoss}
		c := config.Defaults()
		pool := config.NewPool("all")
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
				at := config.Place{File: path, Line: i + 1, Col: 1}
				switch word, value, _ := strings.Cut(line, " "); word {
				case "open":
					c.Listeners = append(c.Listeners, config.Listener{Address: hostport.MustParse(value)})
					r.Carry(at, line, config.Path("listeners").Index(len(c.Listeners)-1))
				case "server":
					pool.Backends = append(pool.Backends, config.Backend{Address: hostport.MustParse(value)})
					r.Carry(at, line, config.PoolPath("all").Key("backends").Index(len(pool.Backends)-1))
				case "idle":
					c.Timeouts.Idle, _ = time.ParseDuration(value)
					r.Carry(at, line, "timeouts.idle")
				case "fast":
					r.Skip(at, line, "holdfast is")
				case "slow":
					r.Differ(at, line, "pools.all.balance", "it is fast: do nothing")
				case "user":
					r.RefuseGuard(at, line, "there are no users: ask an endpoint with auth")
				case "program":
					r.Refuse(at, line, "programs aren't run")
				}
			}
		}
		c.Pools = []config.Pool{pool}
		return r.Finish("test", &c)
	},
}

func TestScripts(t *testing.T) {
	ca := testca.New(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// A folder that isn't there: no admin socket, unless a script makes it.
			e.Setenv("XDG_RUNTIME_DIR", filepath.Join(e.WorkDir, "run"))
			e.Setenv("STATE_DIRECTORY", filepath.Join(e.WorkDir, "state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport": freePort,
			"occupy":   occupy,
			"ready":    ready,
			"status":   status,
			"signal":   signal,
			"issue": func(ts *testscript.TestScript, _ bool, args []string) {
				issue(ts, ca, args)
			},
		},
	})
}

// freePort NAME sets NAME to a local address with a free port.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], ln.Addr().String())
	ts.Check(ln.Close())
}

// occupy NAME sets NAME to a local address whose port is in use.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// ready ADDRESS waits until a balancer answers at that admin address.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	balancer, err := client.New(client.Options{Address: args[0]})
	ts.Check(err)
	defer balancer.Close()
	for poll := time.NewTicker(20 * time.Millisecond); ; {
		if _, err := balancer.Status(ctx); err == nil {
			poll.Stop()
			return
		} else if ctx.Err() != nil {
			ts.Fatalf("no balancer at %s: %v", args[0], err)
		}
		<-poll.C
	}
}

// status N COMMAND... runs a command that must exit with status N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = exitStatus(err)
	}
	if got != args[0] {
		ts.Fatalf("%q ended with %s (%v), want %s", args[1:], got, err, args[0])
	}
}

// issue FILE.pem FILE.key [expired] NAME... writes a certificate for the names and its
// key; "-" stands for no name.
func issue(ts *testscript.TestScript, ca *testca.CA, args []string) {
	make, names := ca.Issue, args[2:]
	if names[0] == "expired" {
		make, names = ca.Expired, names[1:]
	}
	if names[0] == "-" {
		names = nil
	}
	pair := make(names...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pair.Cert, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pair.Key, 0o600))
}

var signals = map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}

// signal NAME sends a signal to the only background command.
func signal(ts *testscript.TestScript, _ bool, args []string) {
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

func exitStatus(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return strconv.Itoa(exit.ExitCode())
	}
	return err.Error()
}
