// Package top is a live view of a balancer in a terminal: its backends, sessions, causes
// of their ends, and events, with keys to find and close sessions and to drain backends.
// It asks the admin API, once each interval for the status, and for sessions only while
// they are shown: a page of those that match. All texts that it gets are made harmless
// before they reach the terminal (screen.Clean).
package top

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// Client is what top asks of a balancer. *client.Client is one.
type Client interface {
	Address() string
	Status(context.Context) (api.Status, error)
	Sessions(context.Context, api.SessionQuery) (api.SessionPage, error)
	Session(ctx context.Context, id string) (api.Session, error)
	CloseSessions(context.Context, api.CloseRequest) (api.CloseResult, error)
	Drain(ctx context.Context, pool, backend, timeout string) (api.BackendResult, error)
	Maint(ctx context.Context, pool, backend, timeout string) (api.BackendResult, error)
	Ready(ctx context.Context, pool, backend string) (api.BackendResult, error)
	Events(context.Context, client.Watch, func(api.Event) error) error
}

// Options of Run.
type Options struct {
	Client   Client
	Interval time.Duration // between two polls
	In, Out  *os.File      // the terminal
	Environ  []string      // NAME=VALUE
}

// MinInterval bounds Options.Interval: nobody reads faster, and it would cost the balancer.
const MinInterval = 200 * time.Millisecond

// frames is how often the terminal is drawn at most, each second.
const frames = 20

// Run shows the view until the user quits or ctx is done. It returns an error, and doesn't
// touch the terminal, if the balancer doesn't answer or the terminal can't show the view.
func Run(ctx context.Context, o Options) error {
	env := environ(o.Environ)
	if env("TERM") == "dumb" {
		return errors.New(`this terminal can't move its cursor (TERM is "dumb"): use holdfast status`)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, err := ask(ctx, o.Client)
	if err != nil {
		return err
	}
	m := newModel(ctx, o.Client, o.Interval)
	m.charset = screen.CharsetOf(env)
	m.update(statusMsg{status: first, asked: time.Now()})
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out),
		tea.WithEnvironment(o.Environ), tea.WithFPS(frames)}
	if !colours(env) {
		options = append(options, tea.WithColorProfile(colorprofile.ASCII))
	}
	p := tea.NewProgram(m, options...)
	m.send = p.Send
	if _, err = p.Run(); err != nil && !errors.Is(err, tea.ErrInterrupted) && ctx.Err() == nil {
		return fmt.Errorf("the terminal: %w", err)
	}
	return nil
}

// colours reports whether the terminal may be sent colours. Any value of NO_COLOR forbids
// them (https://no-color.org); bubbletea understands only those of a Boolean, and takes the
// terminals of DEC and those called monochrome for ones with colours.
func colours(env func(string) string) bool {
	term := env("TERM")
	return env("NO_COLOR") == "" && !strings.HasPrefix(term, "vt") && !strings.HasSuffix(term, "-m") && !strings.HasSuffix(term, "-mono")
}

// environ returns a function that looks up variables, the last of a name.
func environ(list []string) func(string) string {
	values := map[string]string{}
	for _, pair := range list {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = value
	}
	return func(name string) string { return values[name] }
}
