package app

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// routeRules makes the rules of c: those of its routes, in their order, and then those
// of what needs none.
func routeRules(c *config.Config) []route.Rule {
	var rules []route.Rule
	same := map[string]int{}
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.Opaque() {
			rules = append(rules, route.Rule{Opaque: true, Pool: r.Pool, Label: opaqueLabel(&r.Match),
				Connection: route.Connection{Listener: r.Match.Listener, ServerName: r.Match.SNI, Protocol: r.Match.ALPN, Client: r.Match.Client}})
			continue
		}
		when := conditions(&r.Match)
		rules = append(rules, route.Rule{
			Host: r.Match.Host, Path: r.Match.Path, WebSocket: r.Match.WebSocket, When: when,
			Pool: r.Pool, Label: label(&r.Match, when),
		})
		if m := &r.Match; len(m.Header)+len(m.Query)+len(m.Client)+len(m.Not) > 0 {
			// Others may ask for another value.
			last := &rules[len(rules)-1]
			if same[last.Label]++; same[last.Label] > 1 {
				last.Label += fmt.Sprintf(" #%d", same[last.Label])
			}
		}
	}
	if c.HTTPRoutes() == 0 {
		rules = append(rules, route.Rule{Pool: c.Pools[0].Name})
	}
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.Opaque() && (l.Pool != "" || len(l.Split) > 0) {
			rules = append(rules, route.Rule{Opaque: true, Connection: route.Connection{Listener: l.Name}, Pool: l.Pool, Label: l.Name})
		}
	}
	return rules
}

// opaqueLabel is label for a route by sni and alpn.
func opaqueLabel(m *config.Match) string {
	var words []string
	for _, word := range []string{m.SNI.String(), m.ALPN} {
		if word != "" {
			words = append(words, word)
		}
	}
	if m.Listener != "" {
		words = append(words, "listener="+m.Listener)
	}
	if m.Client != nil && len(words) > 0 {
		words = append(words, "client="+joined(m.Client))
	}
	return strings.Join(words, " ")
}

// conditions are what m asks beyond host, path and websocket; nil if that is nothing.
func conditions(m *config.Match) *route.Conditions {
	c := &route.Conditions{
		HostRegex: m.HostRegex.FoldCase(), PathExact: m.PathExact, PathRegex: m.PathRegex,
		Listener: m.Listener, Client: m.Client, Methods: m.Method, Headers: named(m.Header, strings.ToLower), Query: named(m.Query, strings.Clone),
	}
	c.PathBegins, _ = pattern.ParseBeginPath(m.PathBegins) // as validated; the empty text is none
	for i := range m.Not {
		n := &m.Not[i]
		c.Not = append(c.Not, route.Exception{Host: n.Host, Path: n.Path, WebSocket: n.WebSocket, When: conditions(n)})
	}
	if cert := m.ClientCert; cert != nil {
		c.ClientCert = &clientcert.Condition{
			Verified: cert.Verified, CommonNames: cert.CN, DNS: cert.DNS, URIs: cert.URI, Issuers: cert.Issuer, Fingerprints: cert.Fingerprint,
		}
	}
	if reflect.ValueOf(*c).IsZero() {
		return nil
	}
	return c
}

func named(values config.Headers, normal func(string) string) (all []route.Named) {
	for _, v := range values {
		value, _ := pattern.ParseValue(v[1]) // as validated
		all = append(all, route.Named{Name: normal(v[0]), Value: value})
	}
	return all
}

// label names a route in logs: by its host and path, and by what else it matches, so
// that two routes of one host and path can be distinguished. Values of header fields and
// parameters are left out, since they can be secrets.
func label(m *config.Match, when *route.Conditions) string {
	s := hostAndPath(m)
	if when == nil {
		return s
	}
	var more []string
	add := func(what string) { more = append(more, what) }
	if when.Listener != "" {
		add("listener=" + when.Listener)
	}
	if when.Methods != nil {
		add("method=" + strings.Join(when.Methods, "|"))
	}
	for _, h := range m.Header {
		add("header:" + h[0])
	}
	for _, q := range m.Query {
		add("query:" + q[0])
	}
	if m.Client != nil {
		add("client=" + joined(m.Client))
	}
	if n := len(m.Not); n > 0 {
		add(fmt.Sprintf("not:%d", n))
	}
	if cert := m.ClientCert; cert != nil {
		if cert.Verified != nil {
			add(fmt.Sprintf("client_cert.verified=%t", *cert.Verified))
		}
		addList(add, "cn", cert.CN)
		addList(add, "dns", cert.DNS)
		addList(add, "uri", cert.URI)
		addList(add, "issuer", cert.Issuer)
		addList(add, "fingerprint", cert.Fingerprint)
	}
	s = strings.TrimSpace(s + " " + strings.Join(more, " "))
	if len(s) > maxLabel {
		s = strings.ToValidUTF8(s[:maxLabel], "") + "…"
	}
	return s
}

// hostAndPath is the beginning of a label: "ws.example.com/ws", "=/ws" for the whole path,
// "/ws*" for its beginning, and "~" before a regular expression.
func hostAndPath(m *config.Match) string {
	s := m.Host.String()
	if expression := m.HostRegex.String(); expression != "" {
		s += "~" + expression + " "
	}
	s += m.Path.String()
	if m.PathExact != (pattern.ExactPath{}) {
		s += "=" + m.PathExact.String()
	}
	if m.PathBegins != "" {
		s += m.PathBegins + "*"
	}
	if expression := m.PathRegex.String(); expression != "" {
		s += " ~" + expression
	}
	return strings.TrimSpace(s)
}

// maxLabel bounds the label of a route, in bytes: each session's lines in the log have it.
const maxLabel = 256

func addList[T fmt.Stringer](add func(string), key string, list []T) {
	if len(list) == 0 {
		return
	}
	add("client_cert." + key + "=" + joined(list))
}

func joined[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, item := range list {
		words[i] = item.String()
	}
	return strings.Join(words, "|")
}
