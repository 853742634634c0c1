package operate

import (
	"os"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/tool/top"
)

// Top shows a live view in the terminal.
type Top struct {
	Flags
	Interval time.Duration `default:"1s" placeholder:"DURATION" help:"Time between two polls (default 1s, at least 200ms)."`
}

// Help is kong's detailed help.
func (*Top) Help() string {
	return `Shows backends, sessions, causes of ends and events, and refreshes them. Keys find
and close sessions, and drain backends; "?" lists them.

  holdfast top

To find a client's session and close it: f, a part of its address, id or claims,
Ctrl+X, Enter. docs/top.md explains the rest.

Exit status: 0 quit, 1 no balancer answers, 2 not in a terminal.`
}

// Run shows the view until the user quits.
func (c *Top) Run(e *env.Env) error {
	out, ok := e.Out.(*os.File)
	if !ok || !env.IsTerminal(out) {
		return env.Usage("top needs a terminal, and its output isn't one: for scripts, use holdfast status --output json")
	}
	if c.Interval < top.MinInterval {
		return env.Usage("--interval %v is too short: at least %v", c.Interval, top.MinInterval)
	}
	in, ok := e.In.(*os.File)
	if !ok {
		in = os.Stdin
	}
	balancer, err := c.Client()
	if err != nil {
		return err
	}
	defer balancer.Close()
	return advise(top.Run(e.Ctx, top.Options{Client: balancer, Interval: c.Interval, In: in, Out: out, Environ: os.Environ()}))
}
