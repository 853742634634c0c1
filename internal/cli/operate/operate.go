// Package operate has the commands that show and change a running balancer. They talk to
// its admin API by ops/client, and print what it answers: as tables, or as JSON in the form
// of the API.
package operate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/operate/table"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// Flags say how to reach the balancer.
type Flags struct {
	Admin     string `group:"reach" env:"HOLDFAST_ADMIN" placeholder:"ADDRESS" help:"Admin address of the balancer: a socket's path, host:port or https://host:port (default: the one on this machine)."`
	TokenFile string `group:"reach" env:"HOLDFAST_TOKEN_FILE" type:"path" placeholder:"FILE" help:"File with the token for the admin API (default: HOLDFAST_TOKEN has the token)."`
	CA        string `group:"reach" name:"ca" type:"path" placeholder:"FILE" help:"Authorities in PEM that the balancer's certificate is verified by (default: the system's)."`
	Cert      string `group:"reach" type:"path" placeholder:"FILE" help:"Certificate in PEM to show to the balancer."`
	Key       string `group:"reach" type:"path" placeholder:"FILE" help:"Private key of --cert."`
}

// Client returns a client for the balancer that the flags name. The caller closes it.
func (f *Flags) Client() (*client.Client, error) {
	token := os.Getenv("HOLDFAST_TOKEN")
	if f.TokenFile != "" {
		text, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return nil, fmt.Errorf("--token-file: %s is empty", f.TokenFile)
		}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("the token has characters that a token can't have: a space, a line break or a letter that isn't ASCII")
	}
	c, err := client.New(client.Options{Address: f.Admin, Token: token, CA: f.CA, Cert: f.Cert, Key: f.Key})
	if err != nil {
		return nil, env.Usage("%v", err)
	}
	return c, nil
}

// patience is how long a command waits for an answer.
const patience = 30 * time.Second

// ask calls f with a client, and a context that ends after patience.
func (f *Flags) ask(e *env.Env, call func(context.Context, *client.Client) error) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(e.Ctx, patience)
	defer cancel()
	return advise(call(ctx, c))
}

// advise says how to give a token, where the balancer says that there has to be one, and
// which value a refusal is about.
func advise(err error) error {
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusUnprocessableEntity && p.Field != "" && !strings.Contains(p.Detail, p.Field) {
		return fmt.Errorf("%s: %w", strings.ReplaceAll(p.Field, "_", "-"), err)
	}
	if client.IsRefused(err, http.StatusUnauthorized) {
		why, _, _ := strings.Cut(err.Error(), ": send ")
		return fmt.Errorf("%s: give one of admin.token_file with --token-file FILE, HOLDFAST_TOKEN_FILE or HOLDFAST_TOKEN", why)
	}
	return err
}

// Output says in which form to print.
type Output struct {
	Output string `short:"o" enum:"table,json" default:"table" placeholder:"FORMAT" help:"table, or json as the admin API answers (default table)."`
}

func (o *Output) json() bool { return o.Output == "json" }

// print prints value as JSON, or calls show.
func (o *Output) print(e *env.Env, value any, show func() error) error {
	if !o.json() {
		return show()
	}
	text, err := table.JSON(value)
	if err != nil {
		return err
	}
	_, err = e.Out.Write(text)
	return err
}

// say prints one line; the arguments that are texts are escaped.
func say(e *env.Env, format string, args ...any) error {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = table.Escape(s)
		}
	}
	_, err := fmt.Fprintln(e.Out, table.Wrap(fmt.Sprintf(format, args...), e.Width()))
	return err
}

// warnings prints the warnings of a result.
func warnings(e *env.Env, list []string) {
	for _, w := range list {
		e.Warn(table.Escape(w))
	}
}

// duration is a flag's value as the API takes it, "" if it wasn't given.
func duration(d *time.Duration) string {
	if d == nil {
		return ""
	}
	return d.String()
}

// short is a duration in few characters, such as 3d4h, 2h5m, 40s or 1.5s.
func short(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d/time.Hour%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d/time.Minute%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d/time.Second%60)
	case d >= 10*time.Second:
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// seconds is short for a number of seconds.
func seconds(s float64) string { return short(time.Duration(s * float64(time.Second))) }

// size is a number of bytes in few characters.
func size(n uint64) string {
	units, at, f := []string{"B", "KiB", "MiB", "GiB", "TiB"}, 0, float64(n)
	for f >= 1024 && at < len(units)-1 {
		f /= 1024
		at++
	}
	if at == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[at])
}

// rate is one of r, with a decimal if it is small; "-" if there are none yet.
func rate(r *api.Rates, f float64) string {
	if r.Over == 0 {
		return "-"
	}
	if f > 0 && f < 10 {
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

// latency is a 99th percentile; "-" for none.
func latency(l *api.Latency) string {
	switch {
	case l == nil:
		return "-"
	case l.P99 < 1:
		return fmt.Sprintf("%.1fms", l.P99*1000)
	}
	return fmt.Sprintf("%.2fs", l.P99)
}
