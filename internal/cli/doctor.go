package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ws/holdfast/internal/doctor"
)

type doctorCommand struct {
	URL          string        `arg:"" help:"The server, without a balancer: ws://HOST[:PORT]/PATH or wss://…"`
	Health       string        `default:"/health" placeholder:"PATH" help:"Where it answers health checks (default /health); --health= for nowhere."`
	Interval     time.Duration `default:"10s" placeholder:"TIME" help:"health.interval of the balancer: how long a drain has to wait for it to ask (default 10s)."`
	Idle         time.Duration `default:"30s" placeholder:"TIME" help:"How long to leave a session alone; more than keepalive.interval of the balancer (default 30s)."`
	PID          int           `name:"pid" xor:"stop" placeholder:"PID" help:"Send SIGTERM to this process of the server and watch it go."`
	Drain        bool          `xor:"stop" help:"Watch the server go when you send it SIGTERM yourself."`
	Sessions     int           `default:"20" placeholder:"N" help:"Sessions to open before the drain (default 20)."`
	DrainTimeout time.Duration `default:"2m" placeholder:"TIME" help:"How long the drain may take (default 2m)."`
	Timeout      time.Duration `default:"10s" placeholder:"TIME" help:"Of a connection, a handshake and an answer (default 10s)."`
	NoReattach   bool          `name:"no-reattach" help:"Leave out what only pools with reattach need."`
	Header       []string      `sep:"none" placeholder:"NAME:VALUE" help:"Header field for every request, such as Authorization or Origin. May be given more than once."`
	Subprotocol  []string      `placeholder:"NAME" help:"Subprotocol to offer. May be given more than once."`
	Insecure     bool          `help:"wss: take any certificate."`
	JSON         bool          `name:"json" help:"Print one JSON object instead of text."`
}

// Help is kong's detailed help.
func (*doctorCommand) Help() string {
	return `Plays the checklist of docs/backends.md against a server of yours, and says what
to mend. Half of it is about how the server goes when it is told to stop: for
that, run it for the purpose and give its process.

  holdfast doctor ws://127.0.0.1:3000/ws
  holdfast doctor ws://127.0.0.1:3000/ws --pid 4711

Exit status: 0 nothing to mend, 1 something to mend, 2 wrong flags.`
}

func (c *doctorCommand) options(env *environment) (o doctor.Options, err error) {
	o = doctor.Options{
		URL: c.URL, Subprotocol: c.Subprotocol, Insecure: c.Insecure, Health: c.Health, Interval: c.Interval,
		NoReattach: c.NoReattach, Idle: c.Idle, Timeout: c.Timeout, PID: c.PID, Drain: c.Drain, Sessions: c.Sessions,
		DrainTimeout: c.DrainTimeout, Progress: env.err,
	}
	for _, h := range c.Header {
		name, value, err := headerField(h)
		if err != nil {
			return o, err
		}
		o.Header = append(o.Header, [2]string{name, value})
	}
	return o, o.Check()
}

func (c *doctorCommand) Run(env *environment) error {
	o, err := c.options(env)
	if err != nil {
		return usage("%v", err)
	}
	if !c.JSON {
		o.Each = func(l doctor.Line) { printLine(env, l) }
	}
	ctx, cancel := untilStopped(env.ctx)
	defer cancel()
	context.AfterFunc(ctx, cancel) // a second signal ends the process
	report, err := doctor.Examine(ctx, o)
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped")
	}
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(env.out)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(report); err != nil {
			return err
		}
	}
	if report.Mend > 0 {
		return fmt.Errorf("%s to mend", count(report.Mend, "thing"))
	}
	return nil
}

func printLine(env *environment, l doctor.Line) {
	fmt.Fprintf(env.out, "%2d %-12s  %-7s  %s\n", l.Number, l.Check, l.Result, l.Found)
	if l.Advice != "" {
		const indent = "                         "
		fmt.Fprintf(env.out, "%s%s\n%s%s\n", indent, l.Advice, indent, l.See)
	}
}
