package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench"
	"github.com/holdfast-ws/holdfast/internal/bench/server"
	"github.com/holdfast-ws/holdfast/internal/bench/wsconn"
)

type benchCommand struct {
	URL         string        `arg:"" help:"Where to connect: ws://HOST[:PORT]/PATH or wss://…"`
	Mode        string        `default:"echo" placeholder:"MODE" help:"echo (default): every message must come back. fanout: every message must reach every session. churn: connect, one echo, close. idle: connect and hold."`
	Sessions    int           `default:"1000" placeholder:"N" help:"Sessions to open (default 1000)."`
	Ramp        string        `default:"500/s" placeholder:"N/s" help:"Sessions to open, and at the end to close, a second (default 500/s)."`
	Hold        time.Duration `default:"1s" placeholder:"TIME" help:"Wait between opening and the first message (default 1s)."`
	Rate        string        `placeholder:"N" help:"Messages a second over all sessions (default 1000; fanout 10), in churn connections a second (default: as many as --parallel allows)."`
	Size        int           `default:"64" placeholder:"BYTES" help:"Size of a message (default 64)."`
	Duration    time.Duration `default:"30s" placeholder:"TIME" help:"How long to send, or with --mode idle to hold (default 30s); with --direct for each target."`
	Binary      bool          `xor:"kind" help:"Send binary messages (default)."`
	Text        bool          `xor:"kind" help:"Send text messages."`
	Senders     int           `default:"1" placeholder:"N" help:"fanout: sessions that send (default 1)."`
	Parallel    int           `default:"50" placeholder:"N" help:"churn without --rate: connections at a time (default 50)."`
	Direct      []string      `placeholder:"URL" help:"The servers behind the balancer: run the same against them without it, in turn, and show the difference. A URL without a path takes that of the balancer's."`
	Rounds      int           `default:"6" placeholder:"N" help:"With --direct: how often balancer and servers take turns (default 6)."`
	Capacity    bool          `help:"Search for the highest rate of echoes that is sustained, from --rate on."`
	CapacityP99 time.Duration `name:"capacity-p99" default:"50ms" placeholder:"TIME" help:"The p99 up to which a rate counts as sustained (default 50ms)."`
	Timeout     time.Duration `default:"10s" placeholder:"TIME" help:"Of a connection, a handshake, an answer and a closing handshake (default 10s)."`
	Header      []string      `sep:"none" placeholder:"NAME:VALUE" help:"Header field for the handshake. May be given more than once."`
	Subprotocol []string      `placeholder:"NAME" help:"Subprotocol to offer. May be given more than once."`
	Insecure    bool          `help:"wss: take any certificate."`
	JSON        bool          `name:"json" help:"Print one JSON object (docs/bench.md) instead of text."`
}

// Help is kong's detailed help.
func (*benchCommand) Help() string {
	return `Sessions are opened at a fixed rate; messages are sent by the clock, whatever
comes back, and their latency counts from when each was due. At the end sessions
are closed with 1000. Ctrl-C ends early and still reports; a second one ends at
once.

  holdfast bench-server --listen 127.0.0.1:3001
  holdfast bench ws://127.0.0.1:8080/echo --direct ws://127.0.0.1:3001 --capacity

Exit status: 0 all went well, 1 there were failures, 2 wrong flags.`
}

func (c *benchCommand) options(env *environment) (o bench.Options, err error) {
	o = bench.Options{
		URL: c.URL, Mode: bench.Mode(c.Mode), Sessions: c.Sessions, Hold: c.Hold, Size: c.Size, Text: c.Text,
		Duration: c.Duration, Senders: c.Senders, Parallel: c.Parallel, Rounds: c.Rounds,
		Capacity: c.Capacity, CapacityP99: c.CapacityP99, Timeout: c.Timeout,
		Subprotocols: c.Subprotocol, Insecure: c.Insecure, Progress: env.err, Live: isTerminal(env.err),
	}
	if o.Ramp, err = perSecond("--ramp", c.Ramp); err != nil {
		return o, err
	}
	if c.Rate == "" {
		c.Rate = map[bench.Mode]string{bench.Fanout: "10", bench.Churn: "0"}[o.Mode]
	}
	if c.Rate == "" {
		c.Rate = "1000"
	}
	if o.Rate, err = perSecond("--rate", c.Rate); err != nil {
		return o, err
	}
	for _, u := range c.Direct {
		o.Direct = append(o.Direct, withPathOf(u, c.URL))
	}
	for _, h := range c.Header {
		name, value, err := headerField(h)
		if err != nil {
			return o, err
		}
		o.Header = append(o.Header, wsconn.Field{Name: name, Value: value})
	}
	return o, o.Check()
}

func (c *benchCommand) Run(env *environment) error {
	o, err := c.options(env)
	if err != nil {
		return usage("%v", err)
	}
	ctx, cancel := untilStopped(env.ctx)
	defer cancel()
	context.AfterFunc(ctx, cancel) // a second signal ends the process
	report, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	if !c.JSON {
		report.Print(env.out)
	} else if err := report.PrintJSON(env.out); err != nil {
		return err
	}
	if n := report.Failed(); n > 0 {
		return errors.New(count(int(n), "failure"))
	}
	return nil
}

// headerField reads a --header.
func headerField(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, ":")
	if !ok || name == "" || strings.ContainsAny(s, "\r\n") {
		return "", "", fmt.Errorf("--header %q: must be NAME:VALUE", s)
	}
	return name, strings.TrimSpace(value), nil
}

// perSecond reads "200" or "200/s".
func perSecond(flag, s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	if err != nil || !(v >= 0 && v <= 1e9) {
		return 0, fmt.Errorf("%s %s: must be a number a second, such as 200 or 200/s", flag, s)
	}
	return v, nil
}

// withPathOf gives a URL that is just ws://HOST the path and query of another.
func withPathOf(direct, url string) string {
	host := func(u string) string {
		_, rest, _ := strings.Cut(u, "://")
		h, _, _ := strings.Cut(rest, "/")
		return h
	}
	if h := host(direct); !strings.HasSuffix(direct, "://"+h) || h == "" {
		return direct
	}
	if _, path, ok := strings.Cut(url, "://"+host(url)); ok {
		return direct + path
	}
	return direct
}

type benchServerCommand struct {
	Listen string `default:"127.0.0.1:3001" placeholder:"ADDRESS" help:"Address to serve on (default 127.0.0.1:3001)."`
}

// Help is kong's detailed help.
func (*benchServerCommand) Help() string {
	return `Paths:
  /echo        every message comes back
  /broadcast   every message goes to all clients of this server's /broadcast
  /sink        messages are read and forgotten
  /health      plain HTTP, answers 200`
}

func (c *benchServerCommand) Run(env *environment) error {
	ctx, cancel := untilStopped(env.ctx)
	defer cancel()
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.out, "serving ws://%s/echo, /broadcast and /sink\n", l.Addr())
	return new(server.Server).Serve(ctx, l)
}
