package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/tool/doctor"
	"github.com/holdfast-ws/holdfast/internal/tool/doctor/conformance"
)

type doctorCommand struct {
	URLs         []string      `arg:"" name:"url" help:"URL of the server itself, not of a balancer: ws://HOST[:PORT]/PATH or wss://…; with --protocol those of two or more servers."`
	Protocol     string        `placeholder:"NAME" help:"Move sessions between several servers, with clients of this protocol: socketio or text."`
	Health       string        `default:"/health" placeholder:"PATH" help:"Path of its health check (default /health), or a URL if that is at another address; --health= if it has none."`
	Interval     time.Duration `default:"10s" placeholder:"DURATION" help:"health.interval of the balancer: how long a drain must wait for the next check (default 10s)."`
	Idle         time.Duration `default:"30s" placeholder:"DURATION" help:"How long to send nothing on a session; use more than keepalive.interval of the balancer (default 30s)."`
	PID          int           `name:"pid" xor:"stop" placeholder:"PID" help:"Send SIGTERM to this process and watch the server stop."`
	Drain        bool          `xor:"stop" help:"Watch the server stop; you send SIGTERM yourself."`
	Sessions     int           `default:"20" placeholder:"N" help:"Sessions to open before the server is stopped, or with --protocol (default 20)."`
	DrainTimeout time.Duration `default:"2m" placeholder:"DURATION" help:"How long the server may take to stop (default 2m)."`
	Timeout      time.Duration `default:"10s" placeholder:"DURATION" help:"Timeout of a connection, a handshake and an answer (default 10s)."`
	NoReattach   bool          `name:"no-reattach" help:"Skip the checks that only pools with reattach need."`
	Stateless    bool          `help:"The server keeps no state of a session, so it may accept a session that it can't know."`
	Say          []string      `sep:"none" placeholder:"TEXT" help:"Message to send first on a session. Repeatable."`
	Ask          string        `placeholder:"TEXT" help:"Message whose answer shows the state of the session. The answers before and after a move are compared."`
	Answer       string        `placeholder:"REGEXP" help:"Which message is the answer to --ask: the first that this matches; its first group is compared (default: the first message)."`
	MaxGap       time.Duration `default:"3s" placeholder:"DURATION" help:"With --protocol: how long a client may hear nothing from the servers while its session is moved (default 3s)."`
	Auth         string        `placeholder:"JSON" help:"With --protocol socketio: what clients give as auth."`
	Kill         string        `placeholder:"COMMAND" help:"With --protocol: shell command that kills server number $HOLDFAST_SERVER, whose URL is $HOLDFAST_URL."`
	Start        string        `placeholder:"COMMAND" help:"With --protocol: shell command that starts it again. It may go on, and is left running."`
	Header       []string      `sep:"none" placeholder:"NAME:VALUE" help:"Header field for every request, such as Authorization or Origin. Repeatable."`
	Subprotocol  []string      `placeholder:"NAME" help:"Subprotocol to offer. Repeatable."`
	CA           string        `name:"ca" placeholder:"FILE" help:"With wss: certificates of the authorities that the server's is verified by (default: the system's)."`
	ServerName   string        `placeholder:"NAME" help:"With wss: the name that the server's certificate must have (default: the URL's host)."`
	Cert         string        `placeholder:"FILE" help:"With wss: certificate to show to the server, with --key."`
	Key          string        `placeholder:"FILE" help:"With wss: private key of --cert."`
	Insecure     bool          `help:"With wss: accept any certificate."`
	JSON         bool          `name:"json" help:"Print one JSON object instead of text."`
}

// Help is kong's detailed help.
func (*doctorCommand) Help() string {
	return `Connects to a running server as the balancer would, goes through the checklist of
docs/backends.md, and says what to fix. Half of the checklist is about how the
server stops: for that, start a server only for this test and give its PID.

  holdfast doctor ws://127.0.0.1:3000/ws
  holdfast doctor ws://127.0.0.1:3000/ws --pid 4711

With --protocol and the URLs of several servers, it puts a balancer between clients and
the servers, moves the clients' sessions by drains, rebalances and losses, and checks
every message. The servers need a small test application, see docs/conformance.md.

  holdfast doctor --protocol socketio ws://127.0.0.1:3001 ws://127.0.0.1:3002

Exit status: 0 nothing to fix, 1 something to fix, 2 invalid flags.`
}

func (c *doctorCommand) options(e *env.Env) (o doctor.Options, err error) {
	switch {
	case len(c.URLs) > 1:
		return o, errors.New("there is more than one URL: give --protocol, to move sessions between these servers")
	case c.Auth != "" || c.Kill != "" || c.Start != "":
		return o, errors.New("--auth, --kill and --start are for --protocol")
	}
	o = doctor.Options{
		URL: c.URLs[0], Subprotocol: c.Subprotocol, Insecure: c.Insecure, CA: c.CA, ServerName: c.ServerName, Cert: c.Cert, Key: c.Key, Health: c.Health, Interval: c.Interval,
		NoReattach: c.NoReattach, Stateless: c.Stateless, Say: c.Say, Ask: c.Ask, Idle: c.Idle, Timeout: c.Timeout, PID: c.PID, Drain: c.Drain, Sessions: c.Sessions,
		DrainTimeout: c.DrainTimeout, Progress: e.Err,
	}
	if c.Answer != "" {
		if o.Answer, err = regexp.Compile(c.Answer); err != nil {
			return o, fmt.Errorf("--answer: %w", err)
		}
	}
	if o.Header, err = c.headerFields(); err != nil {
		return o, err
	}
	return o, o.Check()
}

func (c *doctorCommand) headerFields() (all [][2]string, err error) {
	for _, h := range c.Header {
		name, value, err := headerField(h)
		if err != nil {
			return nil, err
		}
		all = append(all, [2]string{name, value})
	}
	return all, nil
}

// examination returns what examines the server or the servers.
func (c *doctorCommand) examination(e *env.Env, each func(doctor.CheckResult)) (func(context.Context) (*doctor.Report, error), error) {
	if c.Protocol != "" {
		o, err := c.conformance(e)
		o.Each = each
		return func(ctx context.Context) (*doctor.Report, error) { return conformance.Examine(ctx, o) }, err
	}
	o, err := c.options(e)
	o.Each = each
	return func(ctx context.Context) (*doctor.Report, error) { return doctor.Examine(ctx, o) }, err
}

func (c *doctorCommand) Run(e *env.Env) error {
	var each func(doctor.CheckResult)
	if !c.JSON {
		each = func(l doctor.CheckResult) { printLine(e, l) }
	}
	examine, err := c.examination(e, each)
	if err != nil {
		return env.Usage("%v", err)
	}
	ctx, cancel := untilStopped(e.Ctx)
	defer cancel()
	context.AfterFunc(ctx, cancel) // the second signal ends the process
	report, err := examine(ctx)
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped")
	}
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(e.Out)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(report); err != nil {
			return err
		}
	}
	if report.ToFix > 0 {
		return fmt.Errorf("%s to fix", env.Count(report.ToFix, "thing"))
	}
	return nil
}

func printLine(e *env.Env, l doctor.CheckResult) {
	fmt.Fprintf(e.Out, "%2d %-12s  %-7s  %s\n", l.Number, l.Check, l.Result, l.Found)
	if l.Advice != "" {
		const indent = "                         "
		fmt.Fprintf(e.Out, "%s%s\n%s%s\n", indent, l.Advice, indent, l.See)
	}
}
