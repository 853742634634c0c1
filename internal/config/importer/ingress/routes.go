package ingress

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// allRoutes adds those of all servers. An alias that stands for many hosts goes after the
// hosts that servers have, as in nginx.
func (v *converter) allRoutes(servers []*server) {
	type wide struct {
		*server
		config.Match
	}
	var last []wide
	for _, s := range servers {
		if s.host == "" {
			break
		}
		for _, m := range v.routes(s) {
			last = append(last, wide{s, m})
		}
	}
	slices.SortStableFunc(last, func(a, b wide) int { // wildcards first, the longest first of all
		return cmp.Compare(len(b.Host.String()), len(a.Host.String()))
	})
	for _, w := range last {
		v.hostRoutes(w.server, w.Match, false)
	}
	if end := len(servers) - 1; servers[end].host == "" {
		v.routes(servers[end])
	}
}

// routes adds those of a server, for its host and then for its aliases. It returns the
// aliases that are left for later.
func (v *converter) routes(s *server) (wide []config.Match) {
	hosts := []config.Match{{}}
	if s.host != "" {
		m, ok := v.host(s, s.host)
		if !ok {
			return nil
		}
		hosts[0] = m
	}
	for _, alias := range s.aliases {
		switch m, ok := v.host(s, alias); {
		case !ok:
		case strings.HasPrefix(alias, "~") || strings.HasPrefix(alias, "*"):
			wide = append(wide, m)
		default:
			hosts = append(hosts, m)
		}
	}
	for i, m := range hosts {
		v.hostRoutes(s, m, i == 0)
	}
	v.wwwRoute(s)
	return wide
}

// host is a condition for a host. A wildcard stands for one label.
func (v *converter) host(s *server, host string) (m config.Match, ok bool) {
	var err error
	switch rest, wildcard := strings.CutPrefix(host, "*."); {
	case strings.HasPrefix(host, "~"): // an alias
		m.HostRegex, err = pattern.ParseRegex(host[1:])
	case wildcard && host == s.host:
		m.HostRegex, err = pattern.ParseRegex(`^[\w-]+\.` + regexp.QuoteMeta(rest) + `$`)
	default:
		m.Host, err = pattern.ParseHost(host)
	}
	if err != nil {
		at := s.locations[0].Place
		if s.locations[0].by == nil {
			at = s.aliasBy.annotation("server-alias").Place
		}
		v.r.Refuse(at, "host "+host, "%v", err)
	}
	return m, err == nil
}

// route adds a route of an Ingress.
func (v *converter) route(by *conf, at config.Place, r config.Route) config.Path {
	p := config.Path("routes").Index(len(v.c.Routes))
	if v.Cluster != nil {
		v.clusterRoute(by, at, r)
		return p
	}
	v.c.Routes = append(v.c.Routes, r)
	v.routeOrigins = append(v.routeOrigins, originOf(by, at))
	if at.Line > 0 {
		v.r.Locate(p, at)
	}
	return p
}

func originOf(by *conf, at config.Place) Origin {
	if by == nil {
		return Origin{Place: at}
	}
	return Origin{by.Ingress, at}
}

// toHTTPS reports whether requests of a location without TLS are sent to https.
// Certificate authorities ask for their challenges without it.
func (s *server) toHTTPS(l *location) bool {
	return l.by != nil && (l.by.forceSSL || l.by.sslRedirect && (s.tls || s.through)) && !strings.HasPrefix(l.path, "/.well-known/acme-challenge")
}

// hostRoutes adds the routes of a host, first those before all locations.
func (v *converter) hostRoutes(s *server, m config.Match, first bool) {
	v.shut = s.shut
	defer func() { v.shut = false }()
	if s.through {
		v.passThrough(s, m)
	}
	if s.clientCert != nil && v.https && !s.clientCert.optional {
		v.requireCert(s, m)
	}
	for _, l := range s.locations {
		if l.by != nil && l.by.appRoot != "" && v.owns(l.by, s) {
			to := config.Redirect{To: strings.ReplaceAll(l.by.appRoot, "$", "$$"), Status: 302}
			match := m
			match.PathExact, _ = pattern.ParseExactPath("/")
			p := v.route(l.by, l.Place, config.Route{Match: match, Redirect: &to})
			if l.by.root == "" {
				l.by.root = p.Key("redirect")
			}
			break
		}
	}
	all := true
	for _, l := range s.locations {
		all = all && (s.toHTTPS(l) && l.by.redirect == nil)
	}
	if all && v.hasHTTPS() {
		v.redirectHTTPS(s.locations[0].by, s.place(), m)
		if v.Cluster != nil { // where a route for both listeners is two
			m.Listener = v.names.https
		}
	}
	before := 0
	for _, l := range s.locations {
		before = len(v.c.Routes)
		v.location(s, l, m, all && v.hasHTTPS(), first)
	}
	// A server with an Exact "/" alone has no "/" for other paths, nor has one whose "/" was
	// refused. Its requests must not get to the routes of other servers.
	if last := s.locations[len(s.locations)-1]; last.path != "/" || last.exact && !s.regex || before == len(v.c.Routes) {
		v.notFound(s.by, m)
	}
}

// place is that of the Ingress that a server is from.
func (s *server) place() config.Place {
	if s.by == nil {
		return s.locations[0].Place
	}
	return s.by.Place
}

func (v *converter) hasHTTPS() bool { return len(v.c.Listeners) > 1 }

// redirectHTTPS sends requests without TLS to https.
func (v *converter) redirectHTTPS(by *conf, at config.Place, m config.Match) {
	m.Listener = v.names.http
	v.route(by, at, config.Route{Match: m, Redirect: &config.Redirect{To: "https://${host}${uri}", Status: 308}})
}

// notFound answers as the controller's default backend does.
func (v *converter) notFound(by *conf, m config.Match) {
	at := config.Place{}
	if by != nil {
		at = by.Place
	}
	v.route(by, at, config.Route{Match: m, Respond: &config.Respond{Status: 404, Body: "default backend - 404", ContentType: "text/plain; charset=utf-8"}})
}

// passThrough sends connections with TLS for a host to its pods as they are.
func (v *converter) passThrough(s *server, m config.Match) {
	if v.https || len(v.c.Listeners) < 2 || m.Host == (pattern.Host{}) {
		return
	}
	for _, l := range s.locations {
		if l.path == "/" && l.backend != nil && l.by != nil {
			if pool := v.pool(l.by, l.backend); pool != "" {
				v.route(l.by, l.Place, config.Route{Match: config.Match{Listener: v.names.https, SNI: m.Host}, Pool: pool})
			}
			return
		}
	}
	a := s.throughBy.annotation("ssl-passthrough")
	s.throughBy.settings.refuse(a, "TLS is passed through for the path / only, which no Ingress has for this host")
}

// requireCert refuses clients without the certificate that a host asks for.
func (v *converter) requireCert(s *server, m config.Match) {
	no, text := false, "text/plain; charset=utf-8"
	m.Listener = v.names.https
	without := m
	without.ClientCert = &config.ClientCert{Verified: &no}
	at := s.clientBy.annotation("auth-tls-secret").Place
	v.route(s.by, at, config.Route{Match: without, Respond: &config.Respond{Status: 400, Body: "no required TLS certificate was sent", ContentType: text}})
	if s.clientCert.cn == "" {
		return
	}
	cn, err := pattern.ParseText(s.clientCert.cn)
	if err != nil {
		v.r.Refuse(at, "auth-tls-match-cn", "%v", err)
		v.shut = true
		return
	}
	m.Not = []config.Match{{ClientCert: &config.ClientCert{CN: []pattern.Text{cn}}}}
	v.route(s.by, at, config.Route{Match: m, Respond: &config.Respond{Status: 403, Body: "client certificate unauthorized", ContentType: text}})
}

// wwwRoute redirects www.HOST to HOST, or HOST to www.HOST, unless an Ingress has that
// host.
func (v *converter) wwwRoute(s *server) {
	from, at, ok := s.otherWWW()
	if !ok || v.hasHost(from) {
		return
	}
	v.route(s.by, at, config.Route{Match: config.Match{Host: from}, Redirect: &config.Redirect{To: "${scheme}://" + s.host + "${uri}", Status: 308}})
}

// otherWWW is the host that from-to-www-redirect redirects to s, and the place of that.
func (s *server) otherWWW() (from pattern.Host, at config.Place, ok bool) {
	if !s.www || s.host == "" || strings.HasPrefix(s.host, "*") {
		return from, at, false
	}
	name, ok := strings.CutPrefix(s.host, "www.")
	if !ok {
		name = "www." + s.host
	}
	from, err := pattern.ParseHost(name)
	return from, s.by.annotation("from-to-www-redirect").Place, err == nil
}

func (v *converter) hasHost(host pattern.Host) bool { return v.hosts[host] }

// location adds the routes of a location.
func (v *converter) location(s *server, l *location, m config.Match, redirected, first bool) {
	var err error
	switch {
	case s.regex && l.path != "/":
		m.PathRegex, err = pattern.ParseRegex("(?i)^" + s.expression(l))
	case s.regex:
	case l.exact:
		m.PathExact, err = pattern.ParseExactPath(l.path)
	case l.path != "/":
		m.Path, err = pattern.ParsePath(l.path)
	}
	directive := "path " + l.path
	if err != nil {
		v.r.Refuse(l.Place, directive, "%v", err)
		if v.Cluster != nil && s.regex && v.owns(l.by, s) {
			v.closePath(s, l, m, redirected)
		}
		return
	}
	if !redirected && v.hasHTTPS() && s.toHTTPS(l) && l.by.redirect == nil {
		v.redirectHTTPS(l.by, l.Place, m)
		if v.Cluster != nil {
			redirected, m.Listener = true, v.names.https
		}
	}
	c := l.by
	if c == nil || l.backend == nil && c.redirect == nil {
		v.notFound(c, m)
		return
	}
	r := config.Route{Match: m, Allow: c.allow, Deny: c.deny, Limits: c.limits, ResponseHeaders: config.HeaderEdits{Set: slices.Clone(c.responseHeaders)}}
	if redirected && v.https {
		// Only requests with TLS get here, and no others may have this (RFC 6797 section 7.2).
		r.ResponseHeaders.Set = append(r.ResponseHeaders.Set, [2]string{"Strict-Transport-Security", "max-age=31536000; includeSubDomains"})
	}
	if c.auth != nil {
		auth := *c.auth
		r.Auth = &config.Auth{Request: &auth}
	}
	v.addSlash(s, l, m)
	if c.redirect != nil {
		to := *c.redirect
		to.To = withGroups(to.To, m.PathRegex.Groups())
		r.Redirect, r.Auth = &to, nil
		p := v.route(c, l.Place, r)
		c.routes = append(c.routes, p)
		if first && !l.unset && !l.again {
			v.r.Carry(l.Place, directive, p)
		}
		return
	}
	r.Timeouts, r.Rewrite.Host = c.timeouts, c.host
	if l.needsRewrite() {
		r.Rewrite.Path = withGroups(c.rewrite, m.PathRegex.Groups())
	}
	before := len(v.c.Routes)
	v.targets(l, r)
	if first && !l.unset && !l.again && len(v.c.Routes) > before {
		v.r.Carry(l.Place, directive, config.Path("routes").Index(len(v.c.Routes)-1))
	}
}

// expression is the path of a location of a server whose paths are regular expressions. A
// prefix beside an exact path of the same name is only what is below it.
func (s *server) expression(l *location) string {
	if l.exact || l.needsRewrite() || l.by != nil && l.by.regex || strings.HasSuffix(l.path, "/") {
		return l.path
	}
	if s.paths[l.path] {
		return l.path + "/"
	}
	return l.path
}

// addSlash redirects /x to /x/ if the path of a location is the latter and no other has the
// former, as nginx does for locations with proxy_pass.
func (v *converter) addSlash(s *server, l *location, m config.Match) {
	without := strings.TrimSuffix(l.path, "/")
	if s.regex || without == l.path || without == "" {
		return
	}
	if _, has := s.paths[without]; has {
		return
	}
	exact, err := pattern.ParseExactPath(without)
	if err != nil {
		return // reported with the path itself
	}
	m.Path, m.PathExact = pattern.Path{}, exact
	v.route(l.by, l.Place, config.Route{Match: m, Redirect: &config.Redirect{To: strings.ReplaceAll(l.path, "$", "$$") + "${search}", Status: 301}})
}

// destination is where requests go: to one pool, or to several by weight.
type destination struct {
	pool  string
	split config.Split
}

func (d destination) isNone() bool { return d.pool == "" && d.split == nil }

// withCORS adds a route to a pool, and those that answer pages of other origins.
func (v *converter) withCORS(l *location, r config.Route, to destination) {
	add := func(r config.Route) {
		at := v.route(l.by, l.Place, r)
		if r.Respond == nil {
			l.by.routes = append(l.by.routes, at)
		}
	}
	if to.isNone() {
		if v.Cluster != nil {
			v.route(l.by, l.Place, Unavailable(r.Match))
		}
		return
	}
	cors := l.by.cors
	if cors == nil {
		r.Pool, r.Split = to.pool, to.split
		add(r)
		return
	}
	with := r
	with.ResponseHeaders.Set = append(slices.Clone(r.ResponseHeaders.Set), cors.headers...)
	all := slices.Equal(cors.origins, []string{"*"})
	if !all {
		with.Match.Header = append(slices.Clone(r.Match.Header), [2]string{"Origin", cors.match()})
	}
	preflight := config.Route{Match: with.Match, Allow: r.Allow, Deny: r.Deny, ResponseHeaders: with.ResponseHeaders, Respond: &config.Respond{Status: 204, ContentType: "text/plain; charset=utf-8"}}
	preflight.Match.Method = []string{"OPTIONS"}
	add(preflight)
	with.Pool, with.Split = to.pool, to.split
	add(with)
	if !all {
		r.Pool, r.Split = to.pool, to.split
		add(r)
	}
}

// match is a condition for the origins. A * in one stands for one label.
func (c *cors) match() string {
	var all []string
	for _, o := range c.origins {
		all = append(all, strings.Replace(regexp.QuoteMeta(o), `\*`, `[A-Za-z0-9-]+`, 1))
	}
	return "~(?i)(" + strings.Join(all, "|") + ")$"
}
