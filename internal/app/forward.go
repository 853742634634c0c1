package app

import (
	"cmp"
	"reflect"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// newForward is what a route of c changes, and a part of its split; nil if that is nothing.
// g has what holds for all routes.
func newForward(c *config.Config, r *config.Route, part *config.SplitPart, g *generation.Generation, label string) (*generation.Forward, error) {
	f := new(generation.Forward)
	var err error
	if f.Request, err = headeredit.New(c.RequestHeaders.Spec(), r.RequestHeaders.Spec(), part.RequestHeaders.Spec()); err != nil {
		return nil, err
	}
	if f.Answer, err = headeredit.New(c.ResponseHeaders.Spec(), r.ResponseHeaders.Spec(), part.ResponseHeaders.Spec()); err != nil {
		return nil, err
	}
	if host, asked := strings.CutPrefix(r.Rewrite.Host, config.ClientHost); host != "" || asked {
		f.Host, f.AskedHost = []byte(host), asked
	}
	if p := r.Rewrite.PathPrefix; p != nil {
		f.Path = &pattern.Rewrite{From: p.From, To: p.To}
	}
	if r.Rewrite.Path != "" {
		t, err := pattern.ParsePathTemplate(r.Rewrite.Path)
		if err != nil {
			return nil, err
		}
		f.PathTemplate, f.PathRegex = &t, r.Match.PathRegex
	}
	if t := &r.Timeouts; *t != (config.RouteTimeouts{}) {
		if t.Connect != nil {
			f.Dial = &dial.Dialer{Network: g.Dial.Network, Timeout: *t.Connect}
		}
		f.Answered, f.Response, f.Whole = value(t.Handshake), value(t.Response), value(t.Request)
	}
	if reflect.ValueOf(*f).IsZero() {
		return nil, nil
	}
	f.Label = label
	return f, nil
}

// responds is the answer of a route or of a part of its split; nil for none.
func responds(a *config.Respond) *generation.Answer {
	if a == nil {
		return nil
	}
	return &generation.Answer{Status: a.Status, Body: a.Body, ContentType: cmp.Or(a.ContentType, "text/plain; charset=utf-8")}
}

// newAnswer is what a route answers itself; nil if its requests go to a pool.
func newAnswer(r *config.Route) (*generation.Answer, error) {
	if r.Redirect == nil {
		return responds(r.Respond), nil
	}
	to, err := headeredit.ParseLocation(r.Redirect.To)
	if err != nil {
		return nil, err
	}
	return &generation.Answer{Status: r.Redirect.Status, Location: &to, Regex: r.Match.PathRegex, Path: r.Match.Path}, nil
}

// value is the value of an optional key, zero if it was left out.
func value[T any](v *T) (of T) {
	if v != nil {
		of = *v
	}
	return of
}
