// Package command is the command line of holdfast-kubernetes: it turns flags into the
// options of a controller and runs it until a signal.
package command

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/holdfast-ws/holdfast/internal/cli"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/controller"
)

// Exit statuses, those of holdfast.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // also settings that can't be used
)

const description = `holdfast-kubernetes is a load balancer for WebSockets that serves the Ingresses and
Gateways of a Kubernetes cluster. When pods are replaced, their sessions are moved to
other pods, or closed one after the other. Docs: docs/kubernetes.md.

It runs in a pod, or anywhere with --kubeconfig. In the pod, all commands of holdfast for
a running balancer work, too (docs/cli.md), such as:

  holdfast-kubernetes status
  holdfast-kubernetes sessions --client 203.0.113.7
  holdfast-kubernetes close --claim sub=alice
  holdfast-kubernetes drain POOL/BACKEND
  holdfast-kubernetes events -f

Signals:
  SIGHUP   read the file of --config again
  SIGTERM  answer /health with 503 and continue for shutdown.delay, then close
           all sessions with 1001 within timeouts.shutdown, and exit
  SIGINT   (Ctrl-C) the same without the delay

Exit status: 0 stopped, 1 failed or stopped after cutting sessions, 2 errors in the
flags or the file.`

// exited unwinds the stack after kong's --help, which would end the process.
type exited struct{ status int }

// Main runs the program with arguments and returns its exit status.
func Main(args []string, out, errOut io.Writer) (status int) {
	if len(args) > 0 && cli.Operates(args[0]) {
		return cli.Main(args, out, errOut)
	}
	var f Flags
	parser, err := kong.New(&f,
		kong.Name("holdfast-kubernetes"), kong.Description(description), kong.Writers(out, errOut),
		kong.Exit(func(code int) { panic(exited{code}) }),
	)
	if err != nil {
		panic(err) // Flags is invalid
	}
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(exited)
			if !ok {
				panic(p)
			}
			status = e.status
		}
	}()
	if _, err := parser.Parse(args); err != nil {
		fmt.Fprintf(errOut, "holdfast-kubernetes: %v\nRun \"holdfast-kubernetes --help\".\n", err)
		return exitUsage
	}
	if f.Version {
		fmt.Fprintf(out, "holdfast-kubernetes %s %s %s/%s\n", cli.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitOK
	}
	var invalid config.Errors
	switch err := run(&f, errOut); {
	case err == nil:
		return exitOK
	case errors.As(err, &invalid):
		fmt.Fprintln(errOut, invalid)
		return exitUsage
	case errors.As(err, new(usageError)):
		fmt.Fprintf(errOut, "holdfast-kubernetes: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(errOut, "holdfast-kubernetes: %v\n", err)
		return exitFailure
	}
}

// usageError is an error in the flags.
type usageError string

func (e usageError) Error() string { return string(e) }

func usage(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

func run(f *Flags, errOut io.Writer) error {
	o, err := f.options(errOut)
	if err != nil {
		return err
	}
	c, err := controller.New(o)
	if err != nil {
		return err
	}
	quiet(c.Log())
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	return c.Run(stop, hangups)
}

// quiet lets the libraries of Kubernetes write only warnings and errors, into the same
// log. Both have a logger for the whole process.
func quiet(log *slog.Logger) {
	handler := logr.FromSlogHandler(warnings{log.With("from", "client-go").Handler()})
	klog.SetLogger(handler)
	ctrllog.SetLogger(handler)
}

// split splits "NAMESPACE/NAME".
func split(flag, value string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(value, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", "", usage("%s: %q isn't NAMESPACE/NAME", flag, value)
	}
	return namespace, name, nil
}
