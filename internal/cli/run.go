package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config"
)

type runCommand struct {
	File    string   `arg:"" optional:"" name:"FILE" help:"Configuration file (default holdfast.yaml, unless --listen and --backend are given)."`
	Config  string   `short:"c" placeholder:"FILE" help:"Same as the argument."`
	Listen  []string `placeholder:"ADDRESS" help:"Address to accept clients on, such as :8080. Repeatable."`
	Backend []string `placeholder:"ADDRESS" help:"Address of a backend, such as 127.0.0.1:3001, or wss://chat.internal for TLS. Repeatable."`

	TLSCert           string   `name:"tls-cert" placeholder:"FILE" help:"Certificate in PEM, with the intermediate ones after it: accept https and wss."`
	TLSKey            string   `name:"tls-key" placeholder:"FILE" help:"Private key in PEM (default: the key is in the file of --tls-cert)."`
	TLSSelfSigned     bool     `name:"tls-self-signed" help:"Accept https and wss with a certificate that is made at the start. For trials."`
	Origins           []string `placeholder:"ORIGIN" help:"Pages that may open WebSockets: same_site, any, or an origin such as https://app.example.com (default: any; in a file, same_site). Repeatable."`
	BackendCA         string   `placeholder:"FILE" help:"Authorities in PEM that the certificates of backends are verified by (default: the system's)."`
	BackendServerName string   `placeholder:"NAME" help:"Name that the certificates of backends must have (default: the host of the address)."`
	BackendInsecure   bool     `help:"Accept any certificate of backends. For trials."`

	formatFlags
	Admin string `placeholder:"ADDRESS" help:"Admin address, for health, metrics and commands, such as 127.0.0.1:9900 (default: admin.address of the file; without a file, off)."`
}

// Help is kong's detailed help.
func (*runCommand) Help() string {
	return `Use either a configuration file or flags:

  holdfast run -c holdfast.yaml
  holdfast run -c nginx.conf
  holdfast run --listen :8080 --backend 127.0.0.1:3001 --backend 127.0.0.1:3002
  holdfast run --listen :8443 --tls-cert cert.pem --tls-key key.pem --backend 127.0.0.1:3001
  holdfast run --listen :8443 --tls-self-signed --backend wss://chat.internal --backend-ca ca.pem

The file may be that of another balancer; see holdfast import for which. The log says
what works in another way. If something can't be carried over, nothing is started;
--accept-loss leaves it out.

Signals:
  SIGHUP   reload the file; if it has errors, nothing changes
  SIGUSR1  open the log file again, after it was renamed
  SIGTERM  answer /health with 503 and continue for shutdown.delay, then close
           all sessions with 1001 within timeouts.shutdown, and exit
  SIGINT   (Ctrl-C) the same without the delay

Another signal ends the delay. One more cuts the remaining sessions and exits
at once.

Exit status: 0 stopped, 1 failed (a port in use, for example) or stopped after
cutting sessions, 2 errors in the file or the flags.`
}

func (c *runCommand) options(e *env.Env) (app.Options, error) {
	o := app.Options{Version: Version(), LogTo: e.Err, Systemd: true}
	file, err := oneFile(c.Config, c.File)
	if err != nil {
		return o, err
	}
	if o.Admin, err = adminAddress(c.Admin); err != nil {
		return o, err
	}
	if flags := c.flags(); !reflect.ValueOf(flags).IsZero() {
		if c.formatFlags != (formatFlags{}) {
			return o, env.Usage("--format and --accept-loss are for files: leave them out, or --listen and --backend")
		}
		if file != "" {
			return o, env.Usage("use either --config, or --listen and --backend, not both: what other flags say has keys in the file")
		}
		o.Load = func() (*config.Config, error) {
			cfg, err := config.Quick(flags)
			if err == nil && env.IsTerminal(e.Err) {
				cfg.Log.Format = "text"
			}
			return cfg, err
		}
		return o, nil
	}
	o.File = file
	if o.File == "" {
		o.File = "holdfast.yaml"
		if _, err := os.Stat(o.File); err != nil {
			return o, env.Usage("no holdfast.yaml in this directory: use -c FILE, or --listen ADDRESS and --backend ADDRESS")
		}
	}
	if o.State = stateFile(o.File); o.State == "" {
		o.NoState = "there is no folder for them: none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set"
	}
	loader, err := c.loader()
	if err != nil {
		return o, err
	}
	o.Load = func() (*config.Config, error) {
		res, err := loader.Load(o.File)
		return res.Config, err
	}
	return o, nil
}

// flags are those that stand for a file.
func (c *runCommand) flags() config.Flags {
	return config.Flags{
		Listen: c.Listen, Backend: c.Backend, TLSCert: c.TLSCert, TLSKey: c.TLSKey, TLSSelfSigned: c.TLSSelfSigned,
		Origins: c.Origins, BackendCA: c.BackendCA, BackendServerName: c.BackendServerName, BackendInsecure: c.BackendInsecure,
	}
}

// adminAddress parses --admin. The zero Address means that the flag was not
// given.
func adminAddress(s string) (config.Address, error) {
	if s == "" {
		return config.Address{}, nil
	}
	return config.ParseAdmin("--admin", s)
}

func (c *runCommand) Run(e *env.Env) error {
	o, err := c.options(e)
	if err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	reopens := make(chan os.Signal, 1)
	notifyReopen(reopens)
	defer signal.Stop(reopens)
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)

	a, err := app.Start(o)
	if err != nil {
		return err
	}
	var delay <-chan time.Time // after the first SIGTERM
	for signals := 0; ; {
		select {
		case <-hangups:
			a.Reload() // reports to the log
			continue
		case <-reopens:
			a.ReopenLog() // reports to the log
			continue
		case sig := <-stop:
			signals++
			// No delay after Ctrl-C: somebody is waiting for the end.
			if sig == syscall.SIGTERM && delay == nil {
				delay = time.After(a.Announce())
				continue
			}
		case <-delay:
		}
		return shutDown(a, stop, signals)
	}
}

// shutDown stops a. The next signal on stop cuts the remaining sessions. signals
// is the number of signals so far.
func shutDown(a *app.App, stop <-chan os.Signal, signals int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	switch cut := a.Shutdown(ctx); {
	case cut == 0:
		return nil
	case ctx.Err() != nil && signals < 2:
		return fmt.Errorf("%s cut at the second signal", env.Count(cut, "session"))
	case ctx.Err() != nil:
		return fmt.Errorf("%s cut at the third signal", env.Count(cut, "session"))
	default:
		return fmt.Errorf("%s cut at the end of timeouts.shutdown", env.Count(cut, "session"))
	}
}
