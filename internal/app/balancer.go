package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// operated is the balancer as the admin API sees it.
type operated struct{ *App }

// Balancer is the balancer as the admin API sees it, for programs that run one.
func (a *App) Balancer() admin.Balancer { return operated{a} }

// Routes lists the routes in the order in which they are tried.
func (o operated) Routes() []api.Route {
	c := o.current.Load()
	rules := routeRules(c)
	splits := splitsOf(c, rules)
	list := make([]api.Route, 0, len(rules))
	for i, rule := range rules {
		r := api.Route{Name: rule.Label, Pool: rule.Pool}
		for j := range splits[i] {
			part := &splits[i][j]
			if r.Split == nil {
				r.Split = map[string]int{}
			}
			to := part.Pool
			if part.Respond != nil {
				to = fmt.Sprint("respond ", part.Respond.Status)
			}
			r.Split[to] += part.Weight
		}
		of := new(config.Route) // the last rules need no route
		if i < len(c.Routes) {
			of = &c.Routes[i]
		}
		switch {
		case of.Redirect != nil:
			r.Answer = fmt.Sprint("redirect ", of.Redirect.Status)
		case of.Respond != nil:
			r.Answer = fmt.Sprint("respond ", of.Respond.Status)
		}
		listener := of.Match.Listener
		if rule.Opaque {
			listener = rule.Connection.Listener
		}
		if listener != "" {
			r.Listener = []string{listener}
		}
		if !rule.Opaque {
			r.Auth = authWords(c, of, listener)
		}
		list = append(list, r)
	}
	return list
}

// authWords says how clients of a route prove who they are, on one of the listeners that it
// has: "jwt" and "request".
func authWords(c *config.Config, r *config.Route, listener string) (words []string) {
	add := func(word string, there bool) {
		if there && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Opaque() || listener != "" && l.Name != listener {
			continue
		}
		if auth := c.AuthOf(r, l); auth != nil && !auth.None {
			add("jwt", auth.JWT != nil)
			add("request", auth.Request != nil)
		}
	}
	return words
}

// Reload implements admin.Balancer.
func (o operated) Reload(context.Context) (api.ReloadResult, error) {
	warnings, err := o.App.Reload()
	var p *api.Problem
	switch {
	case errors.As(err, &p):
		return api.ReloadResult{}, p
	case err != nil:
		p = api.Invalid("", "the configuration is refused; nothing has changed")
		p.Errors = strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
		return api.ReloadResult{}, p
	}
	return api.ReloadResult{Generation: o.proxy.Generation().Number, Warnings: warnings}, nil
}

// Log implements admin.Balancer.
func (o operated) Log() api.Log {
	return api.Log{Level: levelWord(o.log.Level()), File: o.current.Load().Log.Level}
}

// SetLog implements admin.Balancer.
func (o operated) SetLog(word string) (api.Log, error) {
	c := &config.Config{Log: config.Log{Level: word}}
	to := level(c)
	if levelWord(to) != word {
		return api.Log{}, api.Invalid("level", "expected debug, info, warn or error, got %q", word)
	}
	o.reload.Lock()
	defer o.reload.Unlock()
	from := o.log.Level()
	tell := func() {
		o.noted(api.EventChange).Info("the log level is changed", "level", word, "was", levelWord(from))
	}
	switch {
	case to > from:
		tell() // while such lines are still written
		o.log.SetLevel(to)
	case to < from:
		o.log.SetLevel(to)
		tell()
	}
	return o.Log(), nil
}

// levelWord is the word of the configuration for a level of the log.
func levelWord(l slog.Level) string { return strings.ToLower(l.String()) }
