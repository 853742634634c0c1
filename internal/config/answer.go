package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Redirect sends clients to another URL. A file may have To in its place.
type Redirect struct {
	To     string `key:"to" as:"redirect"` // a template, see headeredit.ParseLocation
	Status int    `key:"status" range:"301..308"`
}

// SetDefaults implements Defaulter. After a 308, a client repeats a POST as it was; after
// a 301 it may make it a GET (RFC 9110 section 15.4).
func (r *Redirect) SetDefaults() { r.Status = 308 }

// Short implements Shorthand.
func (*Redirect) Short() string { return "to" }

// Respond answers requests. A file may have Status in its place.
type Respond struct {
	Status      int    `key:"status" range:"200..599"`
	Body        string `key:"body" as:"answer body"`
	ContentType string `key:"content_type" as:"content type"` // of Body
}

// SetDefaults implements Defaulter.
func (r *Respond) SetDefaults() { r.Status, r.ContentType = 200, "text/plain; charset=utf-8" }

// Short implements Shorthand.
func (*Respond) Short() string { return "status" }

// Answers reports whether requests of the route go to no pool.
func (r *Route) Answers() bool { return r.Redirect != nil || r.Respond != nil }

// needsPools reports whether c does nothing without a pool.
func (c *Config) needsPools() bool {
	for i := range c.Routes {
		if r := &c.Routes[i]; !r.Answers() && (len(r.Split) == 0 || r.toPools()) {
			return true
		}
	}
	return len(c.Routes) == 0 || slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Opaque() })
}

// answers checks what a route does with its requests. The pool itself is checked with the
// others.
func (v *Validator) answers(p Path, r *Route) {
	pool, split, redirect, respond := p.Key("pool"), p.Key("split"), p.Key("redirect"), p.Key("respond")
	switch {
	case r.Redirect != nil && r.Respond != nil && v.OK(respond):
		v.Fail(respond, "the route has a redirect, too: leave one of the two out")
	case r.Answers() && r.Pool != "" && v.OK(pool):
		v.Fail(pool, "the route answers its requests itself, and none goes to a pool: leave pool out, or redirect and respond")
	case r.Answers() && len(r.Split) > 0 && v.OK(split):
		v.Fail(split, "the route answers its requests itself, and none goes to a pool: leave split out, or redirect and respond")
	case r.Pool != "" && len(r.Split) > 0 && v.OK(pool) && v.OK(split):
		v.Fail(split, "the route has a pool, too: leave pool out, and list it in split with its weight")
	case !r.Answers() && r.Pool == "" && len(r.Split) == 0 && v.OK(split):
		v.Require(pool, v.Given(pool) || v.Given(split), "the route has no pool: say which one serves it, or what it answers (redirect, respond)")
	}
	if a := r.Redirect; a != nil && v.OK(redirect) {
		v.redirect(redirect, a, &r.Match)
	}
	if a := r.Respond; a != nil && v.OK(respond) {
		v.respond(respond, a)
	}
	if !r.Answers() {
		return
	}
	given := map[string]bool{
		"upgrades": len(r.Upgrades) > 0, "request_headers": r.RequestHeaders.Set != nil || r.RequestHeaders.Add != nil || r.RequestHeaders.Remove != nil,
		"rewrite": r.Rewrite != Rewrite{}, "timeouts": r.Timeouts != RouteTimeouts{},
	}
	for _, key := range []string{"upgrades", "request_headers", "rewrite", "timeouts"} {
		if (given[key] || v.Given(p.Key(key))) && v.OK(p.Key(key)) {
			v.Fail(p.Key(key), "%s is about backends, and the route answers its requests itself: leave it out", key)
		}
	}
}

func (v *Validator) redirect(p Path, r *Redirect, m *Match) {
	if to := p.Key("to"); v.OK(to) {
		v.Require(to, r.To != "", "the URL is missing: write for example to: https://${host}${uri}")
		if l, err := headeredit.ParseLocation(r.To); err == nil && v.OK(to) {
			v.groups(to, l.Groups(), m)
			if other := m.otherPath(); l.UsesRest() && other != "" && v.OK(to) {
				v.Fail(to, "${path_rest} is what follows the path of the match, and this one has %s: match path instead", other)
			}
		}
	}
	if status := p.Key("status"); v.OK(status) && !slices.Contains([]int{301, 302, 303, 307, 308}, r.Status) {
		v.Fail(status, "expected 301, 302, 303, 307 or 308, got %d", r.Status)
	}
}

// otherPath is the key by which m looks at paths other than by Path; "" if it doesn't.
func (m *Match) otherPath() string {
	switch {
	case m.PathExact != pattern.ExactPath{}:
		return "path_exact"
	case m.PathBegins != "":
		return "path_begins"
	case m.Path == pattern.Path{} && !m.PathRegex.IsZero():
		return "path_regex"
	}
	return ""
}

// groups checks that path_regex of m captures what a template refers to, up to $n.
func (v *Validator) groups(p Path, n int, m *Match) {
	switch has := m.PathRegex.Groups(); {
	case n == 0 || n <= has:
	case m.PathRegex.IsZero():
		v.Fail(p, "$%d is what a group of path_regex has matched, and the match has no path_regex", n)
	default:
		v.Fail(p, "$%d is what a group of path_regex has matched, and it has only %d", n, has)
	}
}

func (v *Validator) respond(p Path, r *Respond) {
	if kind := p.Key("content_type"); r.ContentType == "" && v.OK(kind) { // of a program
		var defaults Respond
		defaults.SetDefaults()
		r.ContentType = defaults.ContentType
	}
	body := p.Key("body")
	if r.Body != "" && (r.Status == 204 || r.Status == 205 || r.Status == 304) && v.OK(body) && v.OK(p.Key("status")) {
		v.Fail(body, "an answer with the status %d has no body (RFC 9110): leave it out", r.Status)
	}
}

func checkRedirect(s string) error {
	_, err := headeredit.ParseLocation(s)
	return err
}

func checkPathTemplate(s string) error {
	if s == "" {
		return errors.New("the path is empty: leave the key out to keep that of the request")
	}
	_, err := pattern.ParsePathTemplate(s)
	return err
}

func checkPathBeginning(s string) error {
	if s == "" {
		return errors.New("the path is empty: leave the key out to match every path")
	}
	_, err := pattern.ParseBeginPath(s)
	return err
}

// maxBody bounds the body of an answer, in bytes.
const maxBody = 16 << 10

func checkAnswerBody(s string) error {
	switch {
	case len(s) > maxBody:
		return fmt.Errorf("the text is longer than %d bytes", maxBody)
	case !utf8.ValidString(s):
		return errors.New("the text isn't UTF-8")
	}
	return nil
}

func checkContentType(s string) error {
	if s == "" {
		return errors.New("the type is empty: write for example text/html; charset=utf-8")
	}
	if !strings.Contains(s, "/") {
		return fmt.Errorf("bad type %s: write for example text/html; charset=utf-8", hint.Quote(s))
	}
	return checkHeaderValue(s)
}
