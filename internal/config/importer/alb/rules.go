package alb

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/alb/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// rule adds the routes of a rule.
func (v *converter) rule(r object, listener string) {
	v.names["rule "+r.Str("RuleArn")] = true
	directive := "Rule " + r.Str("Priority")
	if len(r.All("Transforms")) > 0 {
		v.r.Refuse(r.at("Transforms"), directive, "transforms aren't carried over: write rewrite: {path: ..., host: ...} into the route")
	}
	matches := []config.Match{{Listener: listener}}
	for _, c := range r.All("Conditions") {
		alternatives, err := condition(c)
		if err != nil {
			v.r.Refuse(object{c, r.file}.at(), directive, "%v", err)
			return
		}
		if matches, err = both(matches, alternatives); err != nil {
			v.r.Refuse(object{c, r.file}.at(), directive, "%v", err)
			return
		}
	}
	if len(matches) > maxRoutes {
		v.r.Refuse(r.at("Conditions"), directive, "it would become %d routes: split it", len(matches))
		return
	}
	v.actions(r, "Actions", directive, matches)
}

// maxRoutes bounds what one rule becomes. A rule has at most five values.
const maxRoutes = 64

// defaultRule adds the route for what no rule matches.
func (v *converter) defaultRule(l object, listener string) {
	v.actions(l, "DefaultActions", "Rule default", []config.Match{{Listener: listener}})
}

// actions adds a route for each match.
func (v *converter) actions(o object, key, directive string, matches []config.Match) {
	var r config.Route
	actions := slices.Clone(o.All(key))
	slices.SortStableFunc(actions, func(a, b *syntax.Node) int { return cmp.Compare(a.Num("Order"), b.Num("Order")) })
	done := false
	for _, node := range actions {
		a := object{node, o.file}
		switch kind := a.Str("Type"); kind {
		case "forward":
			pool, ok := v.forward(a, false)
			if !ok {
				return
			}
			r.Pool, done = pool, true
		case "redirect":
			to, err := redirect(a)
			if err != nil {
				v.r.Refuse(a.at("RedirectConfig"), directive, "%v", err)
				return
			}
			r.Redirect, done = to, true
		case "fixed-response":
			r.Respond, done = fixed(a), true
		case "jwt-validation":
			auth, err := tokens(a)
			if err != nil {
				v.r.RefuseGuard(a.at("Type"), directive, "%v", err)
				continue
			}
			r.Auth = &config.Auth{JWT: auth}
			v.r.Differ(a.at("Type"), "jwt-validation", config.Path("routes").Index(len(v.c.Routes)).Key("auth"), "a session ends when its token expires; on_expiry: keep leaves it open")
		default:
			v.r.RefuseGuard(a.at("Type"), directive, "holdfast has no action %s: let clients log in elsewhere, and verify their tokens (auth: {jwt: ...}) or ask an endpoint (auth: {request: ...})", hint.Quote(kind))
		}
	}
	if !done {
		v.r.Refuse(o.at(), directive, "it has no action that answers a request")
		return
	}
	if r.Redirect != nil || r.Respond != nil {
		r.Auth = nil
	}
	p := config.Path("routes").Index(len(v.c.Routes))
	at := o.at("Priority")
	for _, m := range matches {
		r.Match = m
		v.r.Locate(config.Path("routes").Index(len(v.c.Routes)), at)
		v.c.Routes = append(v.c.Routes, r)
	}
	v.r.Carry(at, directive, p)
}

// forward returns the pool of an action. Several target groups become one pool, whose
// backends have the weights of their groups.
func (v *converter) forward(a object, opaque bool) (pool string, ok bool) {
	if a.Str("Type") != "forward" {
		v.r.Refuse(a.at("Type"), "Action "+a.Str("Type"), "a listener with mode: tcp can only forward")
		return "", false
	}
	groups := a.All("ForwardConfig", "TargetGroups")
	if len(groups) < 2 {
		arn, at := a.Str("TargetGroupArn"), a.at("TargetGroupArn")
		if len(groups) == 1 && arn == "" {
			arn, at = groups[0].Str("TargetGroupArn"), object{groups[0], a.file}.at("TargetGroupArn")
		}
		p := v.group(arn, at)
		if p == nil {
			return "", false
		}
		return p.Name, true
	}
	return v.split(a, groups)
}

// split makes one pool of several target groups with weights.
func (v *converter) split(a object, groups []*syntax.Node) (string, bool) {
	type part struct {
		config.Pool
		weight int
	}
	var parts []part
	var names []string
	for _, g := range groups {
		o := object{g, a.file}
		weight := 1
		if g.Get("Weight") != nil {
			weight = g.Num("Weight")
		}
		if weight == 0 {
			v.names["group "+g.Str("TargetGroupArn")] = true
			v.r.Skip(o.at("TargetGroupArn"), "TargetGroup with weight 0", "it gets nothing")
			continue
		}
		p := v.group(g.Str("TargetGroupArn"), o.at("TargetGroupArn"))
		if p == nil {
			return "", false
		}
		parts = append(parts, part{*p, weight})
		names = append(names, p.Name)
	}
	at := a.at("ForwardConfig")
	if len(parts) == 0 {
		v.r.Refuse(at, "forward", "all target groups have the weight 0")
		return "", false
	}
	if len(parts) == 1 {
		return parts[0].Name, true
	}
	for _, p := range parts[1:] {
		if (p.TLS != nil) != (parts[0].TLS != nil) || p.ProxyProtocol != parts[0].ProxyProtocol || p.Health.Port != parts[0].Health.Port {
			v.r.Refuse(at, "forward to "+strings.Join(names, ", "), "a pool reaches and checks all its backends in the same way: give the target groups the same protocol, proxy_protocol_v2 and health check port")
			return "", false
		}
	}
	pool := parts[0].Pool
	pool.Name = strings.Join(names, "+")
	path := config.PoolPath(pool.Name)
	if i := slices.IndexFunc(v.c.Pools, func(p config.Pool) bool { return p.Name == pool.Name }); i >= 0 {
		pool.Name = fmt.Sprintf("%s-%d", pool.Name, len(v.c.Pools))
		path = config.PoolPath(pool.Name)
	}
	pool.Backends = nil
	share := func(p part) float64 { return float64(p.weight) / float64(max(1, len(p.Backends))) }
	most := 0.0
	for _, p := range parts {
		most = max(most, share(p))
	}
	for _, p := range parts {
		for _, b := range p.Backends {
			b.Weight = max(1, int(share(p)/most*200+0.5))
			if !slices.ContainsFunc(pool.Backends, func(other config.Backend) bool { return other.Address == b.Address }) {
				pool.Backends = append(pool.Backends, b)
			}
		}
	}
	if sticky := a.Get("ForwardConfig", "TargetGroupStickinessConfig"); sticky != nil && sticky.True("Enabled") && pool.Affinity.Cookie == nil && pool.Affinity.Learn == nil {
		pool.Affinity.Cookie = new(config.Cookie)
		pool.Affinity.Cookie.SetDefaults()
		pool.Affinity.Cookie.Name = "AWSALBTG"
		if n := sticky.Num("DurationSeconds"); n > 0 && n <= 604800 {
			pool.Affinity.Cookie.MaxAge = time.Duration(n) * time.Second
		}
	}
	v.c.Pools = append(v.c.Pools, pool)
	v.r.Differ(at, "forward to "+strings.Join(names, ", "), path, "the target groups share a pool, with the health checks and the stickiness of %s; backends that are down take their share with them", names[0])
	return pool.Name, true
}

// redirect reads a URL with #{host}, #{path} and so on.
func redirect(a object) (*config.Redirect, error) {
	or := func(key, otherwise string) string { return cmp.Or(a.Str("RedirectConfig", key), otherwise) }
	protocol, host, port, path, query := or("Protocol", "#{protocol}"), or("Host", "#{host}"), or("Port", "#{port}"), or("Path", "/#{path}"), or("Query", "#{query}")
	if a.Get("RedirectConfig", "Query") != nil && a.Str("RedirectConfig", "Query") == "" {
		query = ""
	}
	if protocol == "#{protocol}" {
		protocol = "${scheme}"
	}
	url := strings.ToLower(protocol) + "://" + strings.ReplaceAll(variables(host), "#{host}", "${host}")
	switch {
	case port == "#{port}", port == "443" && strings.EqualFold(protocol, "https"), port == "80" && strings.EqualFold(protocol, "http"):
	case strings.Contains(port, "#"):
		return nil, fmt.Errorf("bad port %s", hint.Quote(port))
	default:
		url += ":" + port
	}
	switch {
	case path == "/#{path}" && query == "#{query}":
		url += "${uri}"
	default:
		url += strings.ReplaceAll(variables(path), "/#{path}", "${path}")
		if query == "#{query}" {
			url += "${search}"
		} else if query != "" {
			url += "?" + strings.ReplaceAll(variables(query), "#{query}", "${query}")
		}
	}
	url = strings.ReplaceAll(url, "#{host}", "${host}")
	if i := strings.Index(url, "#{"); i >= 0 {
		return nil, fmt.Errorf("%s can't be carried over: only #{protocol}, #{host}, #{port}, /#{path} and #{query} can, each in its own place", hint.Quote(url[i:]))
	}
	status := 301
	if or("StatusCode", "HTTP_301") == "HTTP_302" {
		status = 302
	}
	return &config.Redirect{To: url, Status: status}, nil
}

// variables escapes what would be a variable of holdfast's.
func variables(s string) string { return strings.ReplaceAll(s, "$", "$$") }

func fixed(a object) *config.Respond {
	r := new(config.Respond)
	r.SetDefaults()
	if r.Status = a.Num("FixedResponseConfig", "StatusCode"); r.Status == 0 {
		r.Status = 503
	}
	r.Body = a.Str("FixedResponseConfig", "MessageBody")
	if t := a.Str("FixedResponseConfig", "ContentType"); t != "" {
		r.ContentType = t
	}
	return r
}

// tokens reads how the tokens of clients are verified.
func tokens(a object) (*config.JWT, error) {
	j := new(config.JWT)
	j.SetDefaults()
	c := a.Get("JwtValidationConfig")
	j.JWKSURL, j.Issuer = c.Str("JwksEndpoint"), c.Str("Issuer")
	for _, claim := range c.All("AdditionalClaims") {
		name, values := claim.Str("Name"), claim.Texts("Values")
		switch {
		case name == "aud":
			j.Audience = append(j.Audience, values...)
		case len(values) != 1:
			return nil, fmt.Errorf("the claim %s may have several values, and required_claims has one for each", hint.Quote(name))
		default:
			j.RequiredClaims = append(j.RequiredClaims, [2]string{name, values[0]})
		}
	}
	return j, nil
}

// condition reads one condition. A request must match one of the alternatives.
func condition(c *syntax.Node) ([]config.Match, error) {
	values := func(key string) []string {
		if v := c.Texts(key, "Values"); len(v) > 0 {
			return v
		}
		return c.Texts("Values")
	}
	switch field := c.Str("Field"); field {
	case "host-header":
		return hosts(values("HostHeaderConfig"), c.Texts("HostHeaderConfig", "RegexValues"))
	case "path-pattern":
		return paths(values("PathPatternConfig"), c.Texts("PathPatternConfig", "RegexValues"))
	case "http-request-method":
		return []config.Match{{Method: values("HttpRequestMethodConfig")}}, nil
	case "source-ip":
		var m config.Match
		for _, s := range values("SourceIpConfig") {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("bad network %s", hint.Quote(s))
			}
			m.Client = append(m.Client, p.Masked())
		}
		return []config.Match{m}, nil
	case "http-header":
		name := c.Str("HttpHeaderConfig", "HttpHeaderName")
		expressions := append(wildcards(values("HttpHeaderConfig")), c.Texts("HttpHeaderConfig", "RegexValues")...)
		return []config.Match{{Header: config.Headers{{name, "~(?i)^(?:" + strings.Join(expressions, "|") + ")$"}}}}, nil
	case "query-string":
		return queries(c)
	default:
		return nil, fmt.Errorf("unknown condition %s", hint.Quote(field))
	}
}

// wildcards turns patterns, in which * stands for any text and ? for one character, into
// regular expressions.
func wildcards(patterns []string) (all []string) {
	for _, p := range patterns {
		var b strings.Builder
		escaped := false
		for _, c := range p {
			switch {
			case escaped || !strings.ContainsRune(`*?\`, c):
				b.WriteString(regexp.QuoteMeta(string(c)))
				escaped = false
			case c == '*':
				b.WriteString(".*")
			case c == '?':
				b.WriteString(".")
			default:
				escaped = true
			}
		}
		all = append(all, b.String())
	}
	return all
}

func hosts(values, expressions []string) ([]config.Match, error) {
	if len(values) == 1 && len(expressions) == 0 && !strings.ContainsAny(strings.TrimPrefix(values[0], "*."), `*?\`) {
		if h, err := pattern.ParseHost(values[0]); err == nil {
			return []config.Match{{Host: h}}, nil
		}
	}
	r, err := pattern.ParseRegex("^(?:" + strings.Join(append(wildcards(values), expressions...), "|") + ")$")
	return []config.Match{{HostRegex: r}}, err
}

func paths(values, expressions []string) ([]config.Match, error) {
	if len(values) == 1 && len(expressions) == 0 {
		p := values[0]
		if p == "*" || p == "/*" {
			return []config.Match{{}}, nil
		}
		rest, open := strings.CutSuffix(p, "*")
		if !strings.ContainsAny(rest, `*?\`) {
			if e, err := pattern.ParseExactPath(rest); err == nil && !open {
				return []config.Match{{PathExact: e}}, nil
			}
			if b, err := pattern.ParseBeginPath(rest); err == nil && open {
				return []config.Match{{PathBegins: b.String()}}, nil
			}
		}
	}
	if len(values) == 2 && len(expressions) == 0 && values[1] == values[0]+"/*" && !strings.ContainsAny(values[0], `*?\`) && !strings.HasSuffix(values[0], "/") {
		if p, err := pattern.ParsePath(values[0]); err == nil {
			return []config.Match{{Path: p}}, nil
		}
	}
	r, err := pattern.ParseRegex("^(?:" + strings.Join(append(wildcards(values), expressions...), "|") + ")$")
	return []config.Match{{PathRegex: r}}, err
}

// queries makes a route for each parameter, since one of them is enough.
func queries(c *syntax.Node) (all []config.Match, err error) {
	for _, v := range c.All("QueryStringConfig", "Values") {
		key := v.Str("Key")
		if key == "" || strings.ContainsAny(key, `*?\`) {
			return nil, fmt.Errorf("a query-string needs a key without wildcards")
		}
		value := "~(?i)^" + wildcards([]string{v.Str("Value")})[0] + "$"
		if v.Str("Value") == "*" {
			value = "*"
		}
		all = append(all, config.Match{Query: config.Headers{{key, value}}})
	}
	return all, nil
}
