package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// HeaderEdits changes header fields of requests or answers: what is in Remove and Set
// is removed, then Set and Add are added. Values may have variables, see
// headeredit.Parse.
type HeaderEdits struct {
	Set    Headers  `key:"set" want:"a mapping from names of headers to values" item:"the value of a header"`
	Add    Headers  `key:"add" want:"a mapping from names of headers to values" item:"the value of a header"`
	Remove []string `key:"remove" want:"a list of names of headers" item:"the name of a header"`
}

// Spec is e for package headeredit.
func (e *HeaderEdits) Spec() headeredit.Spec {
	return headeredit.Spec{Set: e.Set, Add: e.Add, Remove: e.Remove}
}

// Rewrite changes what a backend is asked for.
type Rewrite struct {
	// Host is with its port, if it has one; "" keeps that of the request. It may begin with
	// ClientHost.
	Host       string      `key:"host" as:"new host"`
	PathPrefix *PathPrefix `key:"path_prefix" want:"a mapping with from and to"`
	// Path replaces the whole path, see pattern.ParsePathTemplate; "" replaces nothing.
	Path string `key:"path" as:"path template"`
}

// ClientHost in Rewrite.Host is the host that the client asked for, in lower case and
// without its port.
const ClientHost = "${host}"

// PathPrefix replaces the prefix From of paths by To.
type PathPrefix struct {
	From pattern.Path `key:"from" want:"a path such as /api" write:"always"`
	To   pattern.Path `key:"to" want:"a path such as /" write:"always"`
}

// RouteTimeouts are the timeouts of one route; nil is as for all.
type RouteTimeouts struct {
	Connect     *time.Duration `key:"connect" as:"duration"`
	Handshake   *time.Duration `key:"handshake" as:"duration"`
	Idle        *time.Duration `key:"idle" as:"duration" range:"0|1ms..8760h"`
	MaxLifetime *time.Duration `key:"max_lifetime" as:"duration" range:"0|1ms..8760h"`
	Response    *time.Duration `key:"response" as:"duration"`
	// Request bounds a request of plain HTTP as a whole; 0 or nil doesn't.
	Request *time.Duration `key:"request" as:"duration" range:"0|1ms..8760h"`
}

// forwarding checks what routes change.
func (v *Validator) forwarding(c *Config) {
	taken := map[string]Path{} // by client_headers of listeners
	for i := range c.Listeners {
		if t := c.Listeners[i].TLS; t != nil {
			for j, h := range t.ClientHeaders {
				taken[strings.ToLower(h[0])] = Path("listeners").Index(i).Key("tls").Key("client_headers").Index(j)
			}
		}
	}
	v.headerEdits("request_headers", &c.RequestHeaders, headeredit.Request, taken, &c.Forwarded)
	v.headerEdits("response_headers", &c.ResponseHeaders, headeredit.Answer, nil, &c.Forwarded)
	for i := range c.Routes {
		r, p := &c.Routes[i], Path("routes").Index(i)
		if !v.OK(p) {
			continue
		}
		v.headerEdits(p.Key("request_headers"), &r.RequestHeaders, headeredit.Request, taken, &c.Forwarded)
		v.headerEdits(p.Key("response_headers"), &r.ResponseHeaders, headeredit.Answer, nil, &c.Forwarded)
		for j := range r.Split {
			part, at := &r.Split[j], p.Key("split").Index(j)
			if v.OK(p.Key("split")) && v.OK(at) {
				v.headerEdits(at.Key("request_headers"), &part.RequestHeaders, headeredit.Request, taken, &c.Forwarded)
				v.headerEdits(at.Key("response_headers"), &part.ResponseHeaders, headeredit.Answer, nil, &c.Forwarded)
			}
		}
		v.rewrite(p, r)
	}
}

// headerEdits checks names and values. taken are names in lower case that have another
// meaning, and where that was given; f says what the balancer sends itself.
func (v *Validator) headerEdits(p Path, e *HeaderEdits, m headeredit.Message, taken map[string]Path, f *Forwarded) {
	if !v.OK(p) {
		return
	}
	name := func(at Path, name string) {
		if !v.OK(at) {
			return
		}
		if err := m.CheckName(name, headeredit.Sent{XForwarded: f.XForwarded, Forwarded: f.Forwarded, XRealIP: f.XRealIP}); err != nil {
			v.Fail(at, "bad header %s: %v", hint.Quote(name), err)
		} else if other, ok := taken[strings.ToLower(name)]; ok {
			v.Fail(at, "bad header %s: client_headers of a listener sets it (%s)", hint.Quote(name), v.where(other))
		}
	}
	values := func(p Path, headers Headers) {
		if !v.OK(p) {
			return
		}
		for i, h := range headers {
			name(p.Index(i), h[0])
			if value := p.Index(i).Key("value"); v.OK(value) {
				if err := checkEditValue(h[1], m, f.RequestID); err != "" {
					v.Fail(value, "bad value of the header %s: %s", hint.Quote(h[0]), err)
				}
			}
		}
		v.distinct("header", p, len(headers), func(i int) string { return strings.ToLower(headers[i][0]) })
	}
	values(p.Key("set"), e.Set)
	values(p.Key("add"), e.Add)
	remove := p.Key("remove")
	if !v.OK(remove) {
		return
	}
	for i, s := range e.Remove {
		name(remove.Index(i), s)
	}
	v.distinct("header", remove, len(e.Remove), func(i int) string { return strings.ToLower(e.Remove[i]) })
}

// checkEditValue returns what is wrong with a value, "" if nothing is.
func checkEditValue(s string, m headeredit.Message, requestID bool) string {
	if s == "" {
		return "it is empty: to have no such header, list its name under remove"
	}
	if err := checkHeaderValue(s); err != nil {
		return err.Error()
	}
	t, err := headeredit.Parse(s)
	if err == nil {
		err = m.Check(t)
	}
	switch {
	case err != nil:
		return err.Error()
	case t.Uses(headeredit.RequestID) && !requestID:
		return "requests have no id: add forwarded: {request_id: true} to use ${request_id}"
	}
	return ""
}

func (v *Validator) rewrite(route Path, r *Route) {
	p := route.Key("rewrite").Key("path_prefix")
	if r.Rewrite.PathPrefix == nil || !v.OK(route.Key("rewrite")) || !v.OK(p) {
		return
	}
	from, to := r.Rewrite.PathPrefix.From, r.Rewrite.PathPrefix.To
	if !v.program() {
		v.Require(p.Key("from"), v.Given(p.Key("from")), "the prefix to replace is missing: write for example from: /api")
		v.Require(p.Key("to"), v.Given(p.Key("to")), "what to replace it by is missing: write for example to: /")
	}
	if !v.OK(p.Key("from")) || !v.OK(p.Key("to")) {
		return
	}
	match := route.Key("match").Key("path")
	switch {
	case from == to:
		v.Fail(p, "from and to are the same, so nothing is replaced: leave path_prefix out")
	case v.OK(match) && !r.Match.Path.Overlaps(from):
		v.Fail(p.Key("from"), "no request of this route begins with %s: its match has the path %s", from, r.Match.Path)
	}
}

// checkHeaderName refuses the headers that a check sets itself: those about its
// connection and the length of its body (RFC 9110 section 7.6.1).
func checkHeaderName(s string) error {
	if s == "" {
		return errors.New("the name of the header is empty")
	}
	if err := requestkey.CheckToken(s); err != nil {
		return fmt.Errorf("bad header %s: %w", hint.Quote(s), err)
	}
	switch strings.ToLower(s) {
	case "host":
		return fmt.Errorf("bad header %s: it has a key of its own, host, beside headers", hint.Quote(s))
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "content-length", "upgrade":
		return fmt.Errorf("bad header %s: the check sets it where it is needed, leave it out", hint.Quote(s))
	}
	return nil
}

func checkWebSocketHeaderName(s string) error {
	if err := checkHeaderName(s); err != nil {
		return err
	}
	switch name := strings.ToLower(s); {
	case name == "sec-websocket-protocol":
		return fmt.Errorf("bad header %s: it has a key of its own, subprotocol, beside headers", hint.Quote(s))
	case strings.HasPrefix(name, "sec-websocket-"):
		return fmt.Errorf("bad header %s: the check sets it where it is needed, leave it out", hint.Quote(s))
	}
	return nil
}

// checkHeaderValue checks the rules of RFC 9110 section 5.5 for a value.
func checkHeaderValue(s string) error {
	switch {
	case len(s) > maxText:
		return fmt.Errorf("longer than %d bytes", maxText)
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("control characters are not allowed")
	case strings.TrimSpace(s) != s:
		return errors.New("leave out the space around it, servers don't see it")
	}
	return nil
}
