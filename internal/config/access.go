package config

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// access checks who is admitted by a listener or a route.
func (v *Validator) access(p Path, allow, deny []netip.Prefix, origins *Origins) {
	v.networks(p.Key("allow"), allow)
	v.networks(p.Key("deny"), deny)
	for i, network := range allow {
		item := p.Key("allow").Index(i)
		if by := slices.IndexFunc(deny, func(d netip.Prefix) bool { return covers(d, network) }); by >= 0 && v.OK(item) {
			v.Warn(item, "nobody in %s is admitted: %s is in deny, which comes first", network, deny[by])
		}
	}
	if p := p.Key("origins"); origins != nil && v.OK(p) {
		v.origins(p.Key("allow"), origins)
	}
}

func (v *Validator) networks(p Path, networks []netip.Prefix) {
	for i, network := range networks {
		if item := p.Index(i); v.OK(item) {
			if err := checkTrust(network); err != nil {
				v.Fail(item, "%v", err)
			}
		}
	}
}

// covers reports whether every address in b is in a.
func covers(a, b netip.Prefix) bool { return a.Bits() <= b.Bits() && a.Contains(b.Addr()) }

func (v *Validator) origins(p Path, o *Origins) {
	if !v.OK(p) {
		return
	}
	v.Require(p, len(o.Allow) > 0, "the list of origins is empty: give at least one")
	for i, pattern := range o.Allow {
		item := p.Index(i)
		if !v.OK(item) {
			continue
		}
		switch {
		case pattern == origin.Pattern{}:
			v.Fail(item, "the origin is empty")
		case pattern == origin.Any && len(o.Allow) > 1:
			v.Fail(item, "%q admits every origin, so leave the others out", "any")
		case pattern == origin.Null:
			v.Warn(item, "any page can have the origin null, in a sandboxed frame of its own: admit it for trials only")
		case pattern.IsWide():
			v.Warn(item, "anyone can register a name that %s admits: write whose pages are meant", pattern)
		}
	}
	v.distinct("origin", p, len(o.Allow), func(i int) string { return o.Allow[i].String() })
}

// route checks the keys of a route that have nothing to do with other routes.
func (v *Validator) route(c *Config, p Path, r *Route) {
	v.access(p, r.Allow, r.Deny, r.Origins)
	subprotocols := p.Key("subprotocols")
	for i, s := range r.Subprotocols {
		if item := subprotocols.Index(i); v.OK(item) {
			if s == "" {
				v.Fail(item, "the subprotocol is empty")
			} else if err := checkSubprotocol(s); err != nil {
				v.Fail(item, "%v", err)
			}
		}
	}
	v.distinct("subprotocol", subprotocols, len(r.Subprotocols), func(i int) string { return r.Subprotocols[i] })
	if websocket := r.Match.WebSocket; websocket != nil && !*websocket {
		for _, key := range []string{"origins", "subprotocols"} {
			if v.Given(p.Key(key)) {
				v.Warn(p.Key(key), "%s is for WebSockets, and this route has none: leave it out", key)
			}
		}
	}
	v.match(c, p.Key("match"), &r.Match)
	v.exceptions(c, p.Key("match"), &r.Match, 0)
	v.answers(p, r)
	if to := p.Key("rewrite").Key("path"); r.Rewrite.Path != "" && v.OK(p.Key("rewrite")) && v.OK(to) {
		if t, err := pattern.ParsePathTemplate(r.Rewrite.Path); err == nil {
			v.groups(to, t.Groups(), &r.Match)
		}
		if r.Rewrite.PathPrefix != nil {
			v.Fail(to, "the route has path_prefix, too: leave one of the two out")
		}
	}
}

func (v *Validator) match(c *Config, p Path, m *Match) {
	if !v.OK(p) {
		return
	}
	if on := p.Key("listener"); m.Listener != "" && v.OK(on) && v.OK("listeners") && !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Name == m.Listener }) {
		var names []string
		for _, l := range c.Listeners {
			names = append(names, l.Name)
		}
		v.Fail(on, "unknown listener %s%s", hint.Quote(m.Listener), orList("listeners", m.Listener, names))
	}
	methods := p.Key("method")
	for i, method := range m.Method {
		item := methods.Index(i)
		switch {
		case !v.OK(item):
		case !requestkey.IsToken(method):
			v.Fail(item, "bad method %s: write for example GET", hint.Quote(method))
		case strings.ToUpper(method) != method:
			v.Fail(item, "bad method %s: methods are in capital letters, as in %s", hint.Quote(method), hint.Quote(strings.ToUpper(method)))
		}
	}
	v.distinct("method", methods, len(m.Method), func(i int) string { return m.Method[i] })
	if m.Method != nil && !slices.Contains(m.Method, "GET") && m.WebSocket != nil && *m.WebSocket && v.OK(methods) {
		v.Fail(methods, "a WebSocket is opened with GET, so this route would never match: leave method out")
	}
	v.patterns(p.Key("header"), m.Header, "header", checkMatchedHeader, strings.ToLower)
	v.patterns(p.Key("query"), m.Query, "parameter", requestkey.CheckParameter, strings.Clone)
	v.onePath(p, m)
	v.networks(p.Key("client"), m.Client)
	if cert := p.Key("client_cert"); m.ClientCert != nil && v.OK(cert) {
		v.clientCert(c, cert, m)
	}
}

// onePath checks that at most one key says in words which path it is.
func (v *Validator) onePath(p Path, m *Match) {
	first := ""
	for _, by := range []struct {
		key   string
		given bool
	}{{"path", m.Path != pattern.Path{}}, {"path_exact", m.PathExact != pattern.ExactPath{}}, {"path_begins", m.PathBegins != ""}} {
		switch {
		case !by.given || !v.OK(p.Key(by.key)):
		case first != "":
			v.Fail(p.Key(by.key), "the match has %s, too: leave one of the two out", first)
		default:
			first = by.key
		}
	}
}

// maxNot bounds how deep conditions may be within others.
const maxNot = 4

// exceptions checks the conditions under not of a match that is so deep within others.
func (v *Validator) exceptions(c *Config, p Path, m *Match, depth int) {
	not := p.Key("not")
	if len(m.Not) > 0 && depth == maxNot && v.OK(not) {
		v.Fail(not, "not can't be so deep within others: split the route up")
		return
	}
	for i := range m.Not {
		item, n := not.Index(i), &m.Not[i]
		if !v.OK(item) {
			continue
		}
		if reflect.ValueOf(*n).IsZero() && (v.program() || !v.anyWrong(item)) {
			v.Fail(item, "it has no condition and excludes every request: write which ones are meant, or leave it out")
			continue
		}
		for _, key := range []string{"sni", "alpn"} {
			if given := (key == "sni" && n.SNI != pattern.Host{}) || (key == "alpn" && n.ALPN != ""); given && v.OK(item.Key(key)) {
				v.Fail(item.Key(key), "%s can't be under not: it is for connections without requests", key)
			}
		}
		v.match(c, item, n)
		v.exceptions(c, item, n, depth+1)
	}
}

// anyWrong reports whether an error was reported about a key of the match at p.
func (v *Validator) anyWrong(p Path) bool {
	return slices.ContainsFunc(KeysOf(reflect.TypeFor[Match]()), func(k Key) bool { return !v.OK(p.Key(k.Name)) })
}

// patterns checks a mapping from names to patterns.
func (v *Validator) patterns(p Path, values Headers, what string, check func(string) error, normal func(string) string) {
	if !v.OK(p) {
		return
	}
	for i, h := range values {
		if err := check(h[0]); err != nil {
			v.Fail(p.Index(i), "bad %s %s: %v", what, hint.Quote(h[0]), err)
		}
		if value := p.Index(i).Key("value"); v.OK(value) {
			if _, err := pattern.ParseValue(h[1]); err != nil {
				v.Fail(value, "bad value of the %s %s: %v", what, hint.Quote(h[0]), err)
			}
		}
	}
	v.distinct(what, p, len(values), func(i int) string { return normal(values[i][0]) })
}

func (v *Validator) clientCert(c *Config, p Path, m *Match) {
	cert := m.ClientCert
	needs := cert.CN != nil || cert.DNS != nil || cert.URI != nil || cert.Issuer != nil || cert.Fingerprint != nil
	switch {
	case cert.Verified == nil && !needs && v.OK(p.Key("verified")):
		v.Fail(p, "client_cert asks nothing: write for example client_cert: {verified: true}")
	case cert.Verified != nil && !*cert.Verified && needs:
		v.Fail(p.Key("verified"), "verified: false is for clients without a certificate: leave it out, or the other conditions")
	}
	asks := func(l Listener) bool {
		return (m.Listener == "" || l.Name == m.Listener) && l.TLS != nil && l.TLS.VerifiesClients()
	}
	if v.OK("listeners") && !slices.ContainsFunc(c.Listeners, asks) {
		v.Warn(p, "no client of this route has a certificate: its listener has no tls with client_ca")
	}
}

// checkMatchedHeader refuses the headers that routes can't look at: those that have a key
// of their own, and those that the balancer answers for itself.
func checkMatchedHeader(s string) error {
	if s == "" {
		return errors.New("the name is empty")
	}
	if err := requestkey.CheckToken(s); err != nil {
		return err
	}
	switch strings.ToLower(s) {
	case "host":
		return errors.New("it has a key of its own, host, beside header")
	case "upgrade", "connection":
		return errors.New("websocket: true matches WebSocket handshakes")
	case "transfer-encoding", "content-length", "trailer", "te", "keep-alive", "proxy-connection":
		return errors.New("it is about the connection, and not for backends")
	}
	return nil
}
