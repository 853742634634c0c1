package operate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Filter are the flags that choose sessions: those that match all of them.
type Filter struct {
	Pool    string         `group:"filter" placeholder:"POOL" help:"Sessions of this pool."`
	Backend string         `group:"filter" placeholder:"POOL/BACKEND" help:"Sessions on this backend."`
	Route   string         `group:"filter" placeholder:"ROUTE" help:"Sessions of this route, as holdfast routes names it."`
	Client  string         `group:"filter" placeholder:"ADDRESS" help:"Sessions of this client: an address, a network such as 10.0.0.0/8, or address:port."`
	Claim   string         `group:"filter" placeholder:"NAME=VALUE" help:"Sessions whose clients have a token with this claim. It must be one of session_claims of its route."`
	MinAge  *time.Duration `group:"filter" placeholder:"DURATION" help:"Sessions that are at least this old, such as 90s or 2h."`
	MaxAge  *time.Duration `group:"filter" placeholder:"DURATION" help:"Sessions that are at most this old."`
	MinIdle *time.Duration `group:"filter" placeholder:"DURATION" help:"Sessions without a message for at least this long."`
	Search  string         `group:"filter" placeholder:"TEXT" help:"Sessions with this text in their id, address, route, pool, backend or a claim. Upper and lower case are the same."`
}

// AfterApply refuses flags and IDs that are empty, as from a script whose variable is not
// set: they would choose more sessions than are meant.
func (*Filter) AfterApply(c *kong.Context) error {
	for _, p := range c.Path {
		switch {
		case p.Flag != nil && p.Flag.Group != nil && p.Flag.Group.Key == "filter" && c.FlagValue(p.Flag) == "":
			return env.Usage("--%s is empty: say which, or leave it out", p.Flag.Name)
		case p.Positional != nil && p.Positional.Target.String() == "":
			return env.Usage("the ID is empty: say which, or leave it out")
		}
	}
	return nil
}

// filter is f as the API takes it.
func (f *Filter) filter(ctx context.Context, b *client.Client) (s api.SessionFilter, err error) {
	s = api.SessionFilter{Pool: f.Pool, Route: f.Route, Client: f.Client, Claim: f.Claim,
		MinAge: duration(f.MinAge), MaxAge: duration(f.MaxAge), MinIdle: duration(f.MinIdle), Search: f.Search}
	if f.Claim != "" {
		if _, err := api.ParseClaim(f.Claim); err != nil {
			return s, env.Usage("--claim: %v", err)
		}
	}
	switch pool, name, ok := strings.Cut(f.Backend, "/"); {
	case f.Backend == "":
	case f.Pool != "" && !strings.HasPrefix(f.Backend, f.Pool+"/"): // a name alone
		s.Backend = f.Backend
	case !ok || pool == "" || name == "":
		return s, env.Usage("--backend: %q is not POOL/BACKEND, as holdfast status lists them", f.Backend)
	default:
		s.Pool, s.Backend = pool, name
		if strings.Contains(name, "/") { // which slash is it?
			s.Pool, s.Backend, err = b.Resolve(ctx, f.Backend)
		}
	}
	return s, err
}

// Sessions is "holdfast sessions".
type Sessions struct {
	ID    string `arg:"" optional:"" help:"Show all about this session."`
	Limit int    `default:"100" placeholder:"N" help:"List at most this many (default 100)."`
	After string `placeholder:"PLACE" help:"Go on after a list that was cut, at the place that it named."`
	Filter
	Output
	Flags
}

// Help is kong's detailed help.
func (*Sessions) Help() string {
	return `Lists live sessions, or shows one. A message is one of the client or the backend; at
layer 4, bytes count instead. AGE is since the session opened, IDLE since the last
message. A narrow terminal has fewer columns.

  holdfast sessions --backend chat/ws1 --min-idle 10m
  holdfast sessions --client 203.0.113.7
  holdfast sessions --claim sub=alice --output json
  holdfast sessions AMNCA2EK43LOCF7DUFPG

Exit status: 0 shown, also if no session matches; 1 failed, or there is no session with
that ID; 2 wrong arguments.`
}

// Run lists sessions.
func (c *Sessions) Run(e *env.Env) error {
	switch {
	case c.Limit < 1:
		return env.Usage("--limit must be at least 1")
	case c.ID != "" && c.Filter != (Filter{}):
		return env.Usage("use either an ID or a filter")
	}
	return c.ask(e, func(ctx context.Context, b *client.Client) error {
		if c.ID != "" {
			s, err := b.Session(ctx, c.ID)
			if err != nil {
				return err
			}
			return c.print(e, s, func() error { return showSession(e, &s) })
		}
		filter, err := c.filter(ctx, b)
		if err != nil {
			return err
		}
		page, err := list(ctx, b, api.SessionQuery{SessionFilter: filter, After: c.After, Limit: c.Limit})
		if err != nil {
			return err
		}
		return c.print(e, page, func() error {
			if len(page.Sessions) == 0 {
				return say(e, "no session matches")
			}
			if err := sessionTable(page.Sessions).Write(e.Out, e.Width()); err != nil || page.Next == "" {
				return err
			}
			_, err := fmt.Fprintf(e.Err, "There are more: give a larger --limit, or --after %s\n", table.Escape(page.Next))
			return err
		})
	})
}

// list returns up to q.Limit sessions of several pages.
func list(ctx context.Context, b *client.Client, q api.SessionQuery) (api.SessionPage, error) {
	all := api.SessionPage{Sessions: []api.Session{}, Next: q.After}
	for limit := q.Limit; ; {
		q.Limit = min(limit-len(all.Sessions), api.MaxSessions)
		q.After = all.Next
		page, err := b.Sessions(ctx, q)
		if err != nil {
			return all, err
		}
		all.Sessions, all.Next = append(all.Sessions, page.Sessions...), page.Next
		if page.Next == "" || len(all.Sessions) >= limit {
			return all, nil
		}
	}
}

func sessionTable(list []api.Session) *table.Table {
	t := table.New(table.Column{Title: "ID"}, table.Column{Title: "CLIENT", Cut: true}, table.Column{Title: "BACKEND", Cut: true}, table.Column{Title: "ROUTE", Drop: 4, Cut: true},
		table.Column{Title: "AGE", Right: true}, table.Column{Title: "IDLE", Right: true}, table.Column{Title: "MSGS", Right: true, Drop: 1},
		table.Column{Title: "RECEIVED", Right: true, Drop: 2}, table.Column{Title: "SENT", Right: true, Drop: 3}, table.Column{Title: "CLAIMS"})
	for i := range list {
		s := &list[i]
		t.Row(s.ID, s.Client, s.Pool+"/"+s.Backend, s.Route, seconds(s.Age), seconds(s.Idle), strconv.FormatUint(s.FromClient.Messages+s.FromBackend.Messages, 10),
			size(s.FromClient.Bytes), size(s.FromBackend.Bytes), claims(s.Claims))
	}
	return t
}

// claims is what a token says, in a fixed order.
func claims(m map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		words = append(words, name+"="+m[name])
	}
	return strings.Join(words, " ")
}

func showSession(e *env.Env, s *api.Session) error {
	traffic := func(t api.Traffic) string {
		return fmt.Sprintf("%d messages, %s (%d bytes)", t.Messages, size(t.Bytes), t.Bytes)
	}
	lines := []struct{ title, text string }{
		{"id", s.ID}, {"client", s.Client}, {"route", s.Route}, {"backend", s.Pool + "/" + s.Backend},
		{"opened", s.Opened.Local().Format(time.DateTime) + ", " + seconds(s.Age) + " ago"}, {"idle for", seconds(s.Idle)},
		{"from client", traffic(s.FromClient)}, {"from backend", traffic(s.FromBackend)}, {"claims", claims(s.Claims)},
	}
	for _, l := range lines {
		if l.text == "" {
			continue
		}
		if _, err := fmt.Fprintf(e.Out, "%-14s%s\n", l.title, table.Escape(l.text)); err != nil {
			return err
		}
	}
	return nil
}
