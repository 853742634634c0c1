package haproxy

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Bounds: of the routes of all frontends, and of how often rules that don't end requests
// depend on what the request is. Each of those doubles the routes behind it.
const (
	maxRoutes   = 30000
	maxBranches = 1000
)

const (
	neverHolds = "its condition never holds here"
	allGone    = "a line before gets all its requests"
)

// walk applies rules to the requests that match; then gets those that no rule has ended.
func (x *expander) walk(p *proxy, match config.Match, rules []*rule, s state, then func(config.Match, state)) {
	for i, r := range rules {
		if x.failed || x.m.routes > maxRoutes || x.branches > maxBranches {
			if !x.failed {
				x.m.refuse(r.line, tooMany)
			}
			x.failed = true
			return
		}
		ms, err := x.condition(p, r, &s)
		joined := x.joined
		if err != "" {
			x.m.refuse(r.line, "%s", err)
			continue
		}
		if len(ms) == 0 {
			x.m.skip(r.line, "%s", neverHolds)
			continue
		}
		rest := rules[i+1:]
		if ms.isAll() {
			switch {
			case r.action == allow:
				rest = slices.DeleteFunc(slices.Clone(rest), func(o *rule) bool { return o.group == r.group })
				x.walk(p, match, rest, s.with(r), then)
				return
			case x.ends(p, match, r, s):
				for _, o := range rest {
					x.m.skip(o.line, "%s", allGone)
				}
				return
			}
			x.change(p, r, &s)
			continue
		}
		for _, m := range ms {
			both, possible := merge(match, m)
			if r.action == setPath && r.regex != "" { // whose groups make the new path
				both, possible = merge(m, match)
			}
			if !possible || x.failed {
				continue
			}
			branch := s.clone().with(r)
			switch r.action {
			case allow:
				left := slices.DeleteFunc(slices.Clone(rest), func(o *rule) bool { return o.group == r.group })
				x.walk(p, both, left, branch, then)
			default:
				if !x.ends(p, both, r, branch) {
					x.branches++
					x.joined = joined
					x.change(p, r, &branch)
					x.walk(p, both, rest, branch, then)
				}
			}
		}
	}
	then(match, s)
}

// condition evaluates the condition of a rule, after the changes of those before it.
func (x *expander) condition(p *proxy, r *rule, s *state) (ms matches, err string) {
	changed := false
	r.cond.acls(func(t *test) {
		switch t.name {
		case "path", "url", "pathq":
			changed = changed || s.path != ""
		case "base":
			if s.path != "" || s.host != "" {
				err = "host or path have been changed by a rule before"
			}
		case "req.hdr":
			changed = changed || s.request.changed(t.arg(0)) != nil || s.host != "" && strings.EqualFold(t.arg(0), "host")
		}
	})
	if err != "" {
		return nil, err
	}
	if changed {
		x.state = s
		ms, err = x.evaluate(p, r.cond)
		x.state = nil
	} else {
		ms, err = x.holds(p, r.cond)
	}
	if err != "" || r.action != setPath || r.regex == "" {
		return ms, err
	}
	re, bad := pattern.ParseRegex(r.regex)
	if bad != nil {
		return nil, bad.Error()
	}
	x.joined = ""
	if s.path != "" {
		if disjoint(r.regex, s.path) {
			return nothing, ""
		}
		if x.joined = join(r.regex, s.path, s.pathRegex); x.joined == "" {
			return nil, "the path has been changed by a rule before: join the two rules"
		}
		if re, bad = pattern.ParseRegex(x.joined); bad != nil {
			return nil, bad.Error()
		}
	}
	only := nothing
	for _, m := range ms {
		if both, possible := merge(config.Match{PathRegex: re}, m); possible {
			only = append(only, both)
		}
	}
	return only, ""
}

// with is s with the lines of a rule.
func (s state) with(r *rule) state {
	s.lines = append(s.lines, r.line)
	r.cond.acls(func(t *test) {
		if t.line != r.line && !slices.Contains(s.lines, t.line) {
			s.lines = append(s.lines, t.line)
		}
	})
	return s
}

// ends makes the routes of a rule that ends requests, and reports whether it is one.
func (x *expander) ends(p *proxy, match config.Match, r *rule, s state) bool {
	switch r.action {
	case toPool:
		x.use(p, match, r, s)
		return !strings.Contains(r.pool, "%") // a map may have no entry
	case redirect:
		s.by = r.line
		x.redirect(p, match, r, s.with(r))
	case respond:
		s.by = r.line
		x.answer(match, config.Respond{Status: r.status, Body: r.body, ContentType: r.mime}, s.with(r))
	default:
		return false
	}
	return true
}

func (x *expander) answer(match config.Match, a config.Respond, s state) {
	a.ContentType = cmp.Or(a.ContentType, "text/plain; charset=utf-8")
	if a.Status == 204 || a.Status == 205 || a.Status == 304 {
		a.Body = ""
	}
	x.add(config.Route{Match: match, Respond: &a, Limits: s.limits}, s)
}

// add adds a route, unless there is one before that gets all its requests.
func (x *expander) add(r config.Route, s state) {
	key := "all"
	if !isZero(&r.Match) {
		key = keyOf(&r.Match)
	}
	if x.added["all"] || x.added[key] {
		x.m.skip(s.by, "%s", allGone)
		return
	}
	x.added[key] = true
	x.m.routes++
	x.routes = append(x.routes, &route{r, s.by, s.lines})
}

func (x *expander) redirect(p *proxy, match config.Match, r *rule, s state) {
	x.state, x.line = &s, r.line
	if x.onlyHost = ""; !strings.HasPrefix(match.Host.String(), "*") {
		x.onlyHost = match.Host.String()
	}
	x.inRedirect = true
	defer func() { x.state, x.onlyHost, x.inRedirect = nil, "", false }()
	to, err := x.template(p, r.redirect.to)
	if err == "" {
		to, err = x.location(p, r, to)
	}
	if err != "" {
		x.m.refuse(r.line, "%s", err)
		return
	}
	x.add(config.Route{Match: match, Redirect: &config.Redirect{To: to, Status: r.redirect.code}, Limits: s.limits}, s)
}

// location is where a redirect leads to.
func (x *expander) location(p *proxy, r *rule, to string) (string, string) {
	uri := "${uri}"
	switch changed := x.state.path; {
	case changed != "" && r.redirect.drop:
		uri = changed
	case changed != "":
		uri = changed + "${search}"
	case r.redirect.drop:
		uri = "${path}"
	}
	if r.redirect.slash {
		x.m.differ(r.line, "", "no slash is appended")
	}
	host := "${header.Host}"
	switch r.redirect.kind {
	case "scheme":
		if to += "://"; x.state.host != "" {
			to += strings.ReplaceAll(x.state.host, "$", "$$")
		} else {
			to += host
		}
		to += uri
	case "prefix":
		if to == "/" {
			to = ""
		}
		to += uri
	}
	if strings.Contains(to, host) {
		to = strings.ReplaceAll(to, host, "${host}")
		x.m.differ(r.line, "", "a port in the Host of the request isn't repeated")
	}
	to = strings.ReplaceAll(to, " ", "%20")
	return to, ""
}

// change applies a rule that doesn't end requests.
func (x *expander) change(p *proxy, r *rule, s *state) {
	*s = s.with(r)
	x.state, x.line = s, r.line
	defer func() { x.state = nil }()
	switch r.action {
	case setField:
		x.setField(p, r, s)
	case setPath:
		before := s.path
		x.inPath = true
		to, err := x.template(p, r.value)
		x.inPath = false
		if err != "" {
			x.m.refuse(r.line, "%s", err)
			return
		}
		to = strings.ReplaceAll(to, "$${", "${")
		if before != "" {
			to = strings.ReplaceAll(to, "${path}", before)
		}
		if s.path = to; r.regex != "" {
			s.pathRegex = cmp.Or(x.joined, r.regex)
		}
	case setTimeout:
		d, err := parseTime(r.value, time.Millisecond)
		if err != nil {
			x.m.refuse(r.line, "a time is needed, such as 1h")
			return
		}
		s.timeouts[r.name] = min(d, maxTimeout)
	case limit:
		q := r.limit
		if q.current && (s.limits.MaxRequestsPerAddress == nil || *s.limits.MaxRequestsPerAddress > q.n) {
			s.limits.MaxRequestsPerAddress = &q.n
		} else if !q.current {
			own := &config.AddressRate{Rate: float64(q.n) / q.period, Burst: q.n}
			if before := s.limits.NewRequestsPerAddress; before != nil && before.Rate < own.Rate {
				x.m.differ(r.line, "", "of two limits, the lower one holds")
				return
			}
			s.limits.NewRequestsPerAddress = own
		}
	case answerField:
		value, err := x.template(p, r.value)
		if err != "" {
			x.m.refuse(r.line, "%s", err)
			return
		}
		s.answer.apply(r.op, r.name, strings.TrimSpace(value))
	case guardTCP:
		x.m.refuse(r.line, "whether a proxy is in front is said by the listener: bind ... accept-proxy")
	}
}

func (x *expander) setField(p *proxy, r *rule, s *state) {
	name := strings.ToLower(r.name)
	if fact := certificateFact(r.value); fact != "" && r.op != "del" {
		x.certificateField(r, fact, s)
		return
	}
	value, err := x.template(p, r.value)
	if err != "" && isInformation(r.value) {
		x.m.differ(r.line, "", "the field isn't sent, and removed from what clients send: %s", err)
		s.request.apply("del", r.name, "")
		return
	}
	if err != "" {
		x.m.refuse(r.line, "%s", err)
		return
	}
	switch {
	case name == "host":
		if value == "${header.Host}" {
			return
		}
		if strings.Contains(value, "$") {
			x.m.refuse(r.line, "the Host for backends is a fixed one: rewrite.host")
			return
		}
		s.host = value
	case name == "x-request-id":
		if r.op == "del" {
			x.m.differ(r.line, "", "the client's X-Request-ID is passed on, or replaced with forwarded: {request_id: true}")
			return
		}
		if value != "${request_id}" && value != "${header.X-Request-ID}" {
			x.m.refuse(r.line, "holdfast makes the ids itself: forwarded: {request_id: true}")
			return
		}
		x.m.config.Forwarded.RequestID = true
	case strings.Contains(value, "${backend}"):
		x.m.refuse(r.line, "each backend that is tried gets the same request, so that it can't have the backend's name")
	default:
		s.request.apply(r.op, r.name, strings.TrimSpace(value))
	}
}

// certificateField sets a field to a fact about the client's certificate.
func (x *expander) certificateField(r *rule, fact string, s *state) {
	x.asked["tls"] = true
	t := x.at.config.TLS
	if t == nil || t.ClientCA == "" { // nobody has one
		s.request.apply("del", r.name, "")
		return
	}
	if !slices.ContainsFunc(t.ClientHeaders, func(h [2]string) bool { return strings.EqualFold(h[0], r.name) }) {
		t.ClientHeaders = append(t.ClientHeaders, [2]string{r.name, fact})
	}
	x.m.differ(r.line, "", "the value is in another form, see docs/config.md, facts about client certificates: %s", fact)
}
