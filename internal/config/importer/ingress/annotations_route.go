package ingress

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
)

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 10_000 {
		return 0, errors.New("not a number")
	}
	return n, nil
}

func (s *settings) redirectTLS(a Annotation) {
	on, ok := s.boolean(a)
	if !ok {
		return
	}
	if a.Name == "ssl-redirect" {
		s.sslRedirect = on
	} else {
		s.forceSSL = on
	}
	s.carry(a, "")
}

func (s *settings) sslPassthrough(a Annotation) {
	if s.on(a, "") {
		s.passthrough = true
	}
}

func (s *settings) useRegex(a Annotation) {
	if s.on(a, "route.match.path_regex") {
		s.regex = true
	}
}

// rewriteTarget replaces the whole path. A URL sends the client there, as in nginx.
func (s *settings) rewriteTarget(a Annotation) {
	target, err := template(a.Value)
	switch {
	case a.Value == "":
		s.skip(a, "it is empty")
	case err != nil:
		s.refuse(a, "%v", err)
	case strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://"):
		s.rewrite, s.redirect = "", &config.Redirect{To: target, Status: 302}
		s.regex = true
		s.carry(a, "route.redirect.to")
	case strings.ContainsAny(target, "?"):
		s.refuse(a, "a rewritten path can't have a query of its own: the request's is kept")
	case !strings.HasPrefix(target, "/"):
		s.rewrite = "/" + target
		s.differ(a, "route.rewrite.path", "a path begins with a slash: /%s", target)
	default:
		s.rewrite = target
		s.carry(a, "route.rewrite.path")
	}
}

func (s *settings) root(a Annotation) {
	u, err := url.ParseRequestURI(a.Value)
	if err != nil || u.IsAbs() {
		s.differ(a, "", "not a path: ignored, as by ingress-nginx")
		return
	}
	s.appRoot = a.Value
	s.carry(a, "root")
}

func (s *settings) permanent(a Annotation) {
	if s.needs(a, s.values["temporal-redirect"] == "", "temporal-redirect being away, which goes before it") {
		s.redirectTo(a, "permanent-redirect-code", 301)
	}
}

func (s *settings) temporal(a Annotation) { s.redirectTo(a, "temporal-redirect-code", 302) }

func (s *settings) redirectTo(a Annotation, code string, status int) {
	to, err := template(a.Value)
	if err != nil {
		s.refuse(a, "%v", err)
		return
	}
	if n, err := strconv.Atoi(s.values[code]); err == nil && (n == 301 || n == 302 || n == 303 || n == 307 || n == 308) {
		status = n
	}
	s.redirect = &config.Redirect{To: to, Status: status}
	s.carry(a, "route.redirect.to")
}

func ofRedirect(name string) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		if s.needs(a, s.values[name] != "", name) {
			s.carry(a, "route.redirect.status")
		}
	}
}

func (s *settings) fromToWWW(a Annotation) {
	if s.on(a, "") {
		s.www = true
	}
}

func (s *settings) serverAlias(a Annotation) {
	for alias := range strings.SplitSeq(a.Value, ",") {
		if alias = strings.TrimSpace(alias); alias != "" {
			s.aliases = append(s.aliases, strings.ToLower(alias))
		}
	}
	s.carry(a, "")
}

func (s *settings) isCanary(a Annotation) {
	if s.on(a, "") {
		s.setCanary()
	}
}

func (s *settings) setCanary() *canary {
	if s.canary == nil {
		s.canary = &canary{total: 100}
	}
	return s.canary
}

// ofCanary is for annotations that need canary: true.
func ofCanary(handle func(*settings, Annotation)) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		if s.needs(a, s.is("canary"), "canary: true") {
			s.setCanary()
			handle(s, a)
		}
	}
}

func (s *settings) canaryHeader(a Annotation) {
	s.canary.header = a.Value
	s.carry(a, "route.match.header")
}

func (s *settings) canaryValue(a Annotation) {
	if s.needs(a, s.values["canary-by-header"] != "", "canary-by-header") {
		s.canary.value = a.Value
		s.carry(a, "route.match.header")
	}
}

func (s *settings) canaryPattern(a Annotation) {
	switch {
	case !s.needs(a, s.values["canary-by-header"] != "", "canary-by-header"):
	case s.values["canary-by-header-value"] != "":
		s.skip(a, "canary-by-header-value goes before it")
	default:
		s.canary.pattern = a.Value
		s.carry(a, "route.match.header")
	}
}

func (s *settings) canaryCookie(a Annotation) {
	s.canary.cookie = a.Value
	s.carry(a, "route.match.header")
}

func (s *settings) canaryWeight(a Annotation) {
	if n, ok := s.number(a); ok {
		s.canary.weight = n
		s.carry(a, "pool.backends")
	}
}

func (s *settings) canaryTotal(a Annotation) {
	if n, ok := s.number(a); ok {
		s.canary.total = max(n, 100)
		s.carry(a, "pool.backends")
	}
}
