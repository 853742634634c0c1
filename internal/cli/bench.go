package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/tool/bench"
	"github.com/holdfast-ws/holdfast/internal/tool/bench/server"
	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
)

type benchCommand struct {
	URL         string        `arg:"" help:"URL to connect to: ws://HOST[:PORT]/PATH or wss://…"`
	Mode        string        `default:"echo" placeholder:"MODE" help:"echo: every message must come back. fanout: every message must reach every session. churn: connect, one echo, close. idle: connect and hold (default echo)."`
	Sessions    int           `default:"1000" placeholder:"N" help:"Sessions to open (default 1000)."`
	Ramp        string        `default:"500/s" placeholder:"N/s" help:"Sessions to open per second, and to close per second at the end (default 500/s)."`
	Hold        time.Duration `default:"1s" placeholder:"DURATION" help:"Time between the last opened session and the first message (default 1s)."`
	Rate        string        `placeholder:"N/s" help:"Messages per second over all sessions (default 1000/s; fanout 10/s). churn: connections per second (default: as many as --parallel allows)."`
	Size        int           `default:"64" placeholder:"BYTES" help:"Size of a message (default 64)."`
	Duration    time.Duration `default:"30s" placeholder:"DURATION" help:"How long to send, or with --mode idle to hold (default 30s). With --direct, for each target."`
	Binary      bool          `xor:"kind" help:"Send binary messages (default)."`
	Text        bool          `xor:"kind" help:"Send text messages."`
	Senders     int           `default:"1" placeholder:"N" help:"fanout: number of sessions that send (default 1)."`
	Parallel    int           `default:"50" placeholder:"N" help:"churn without --rate: number of parallel connections (default 50)."`
	Direct      []string      `placeholder:"URL" help:"URLs of the servers behind the balancer. The same load is run on them without the balancer, in turns, and the difference is shown. A URL without a path gets the path of the balancer's URL."`
	Rounds      int           `default:"6" placeholder:"N" help:"With --direct: number of turns (default 6)."`
	Capacity    bool          `help:"Search for the highest sustained rate of echoes, starting at --rate."`
	CapacityP99 time.Duration `name:"capacity-p99" default:"50ms" placeholder:"DURATION" help:"Highest p99 at which a rate counts as sustained (default 50ms)."`
	Timeout     time.Duration `default:"10s" placeholder:"DURATION" help:"Timeout of a connection, a handshake, an answer and a closing handshake (default 10s)."`
	Header      []string      `sep:"none" placeholder:"NAME:VALUE" help:"Header field for the handshake. Repeatable."`
	Subprotocol []string      `placeholder:"NAME" help:"Subprotocol to offer. Repeatable."`
	CA          string        `name:"ca" type:"existingfile" xor:"verify" placeholder:"FILE" help:"With wss: certificates, in PEM, that the server's is verified by (default: the system's)."`
	Insecure    bool          `xor:"verify" help:"With wss: accept any certificate."`
	Resume      bool          `help:"With wss: resume TLS sessions, as clients do that come again. Without it, every connection makes a full handshake."`
	JSON        bool          `name:"json" help:"Print one JSON object (docs/bench.md) instead of text."`
}

// Help is kong's detailed help.
func (*benchCommand) Help() string {
	return `Opens sessions at a fixed rate, sends messages at fixed times without waiting for
answers, and reports latencies, rates and failures. A latency counts from the time
when the message was due. docs/bench.md explains the figures. Ctrl-C ends early
and still reports; a second Ctrl-C ends at once.

  holdfast bench ws://127.0.0.1:8080/ws
  holdfast bench ws://127.0.0.1:8080/echo --direct ws://127.0.0.1:3001 --capacity

Exit status: 0 no failures, 1 failures, 2 invalid flags.`
}

func (c *benchCommand) options(e *env.Env) (o bench.Options, err error) {
	o = bench.Options{
		URL: c.URL, Mode: bench.Mode(c.Mode), Sessions: c.Sessions, Hold: c.Hold, Size: c.Size, Text: c.Text,
		Duration: c.Duration, Senders: c.Senders, Parallel: c.Parallel, Rounds: c.Rounds,
		Capacity: c.Capacity, CapacityP99: c.CapacityP99, Timeout: c.Timeout,
		Subprotocols: c.Subprotocol, Insecure: c.Insecure, Resume: c.Resume, Progress: e.Err, Live: env.IsTerminal(e.Err),
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
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return o, fmt.Errorf("--ca: %w", err)
		}
		if o.Roots = x509.NewCertPool(); !o.Roots.AppendCertsFromPEM(text) {
			return o, fmt.Errorf("--ca %s: the file has no certificate in PEM", c.CA)
		}
	}
	return o, o.Check()
}

func (c *benchCommand) Run(e *env.Env) error {
	o, err := c.options(e)
	if err != nil {
		return env.Usage("%v", err)
	}
	ctx, cancel := untilStopped(e.Ctx)
	defer cancel()
	context.AfterFunc(ctx, cancel) // the second signal ends the process
	report, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	if !c.JSON {
		report.Print(e.Out)
	} else if err := report.PrintJSON(e.Out); err != nil {
		return err
	}
	if n := report.Failed(); n > 0 {
		return errors.New(env.Count(int(n), "failure"))
	}
	return nil
}

// headerField parses the value of --header.
func headerField(s string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, ":")
	if !ok || name == "" || strings.ContainsAny(s, "\r\n") {
		return "", "", fmt.Errorf("--header %q: must be NAME:VALUE", s)
	}
	return name, strings.TrimSpace(value), nil
}

// perSecond parses "200" or "200/s".
func perSecond(flag, s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	if err != nil || !(v >= 0 && v <= 1e9) {
		return 0, fmt.Errorf("%s %s: must be a number per second, such as 200 or 200/s", flag, s)
	}
	return v, nil
}

// withPathOf adds the path and query of url to direct, if direct has neither.
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
  /echo        sends every message back
  /broadcast   sends every message to all clients of /broadcast on this server
  /sink        reads messages and discards them
  /health      answers plain HTTP requests with 200

  holdfast bench-server --listen 127.0.0.1:3001`
}

func (c *benchServerCommand) Run(e *env.Env) error {
	ctx, cancel := untilStopped(e.Ctx)
	defer cancel()
	address, err := config.ParseListen("--listen", c.Listen)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address.String())
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Out, "serving ws://%s/echo, /broadcast and /sink\n", l.Addr())
	return new(server.Server).Serve(ctx, l)
}
