package gateway

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// The kinds of paths, in the order of their precedence. The Gateway API leaves the place of
// regular expressions to the implementation.
const (
	byPrefix = iota
	byRegex
	byExact
)

// match is a match of an HTTPRoute without its host.
type match struct {
	config.Match
	kind int
	path int // characters
}

// compileMatch reads a match. A regular expression must match the whole path or value, as
// it does with most implementations.
func compileMatch(m *gwv1.HTTPRouteMatch) (c match, err error) {
	kind, value := gwv1.PathMatchPathPrefix, "/"
	if m.Path != nil {
		kind, value = deref(m.Path.Type, kind), deref(m.Path.Value, value)
	}
	switch kind {
	case gwv1.PathMatchExact:
		c.kind, c.path = byExact, len(value)
		c.PathExact, err = pattern.ParseExactPath(value)
	case gwv1.PathMatchPathPrefix:
		c.Path, err = pattern.ParsePath(value)
		c.path = len(c.Path.String())
	case gwv1.PathMatchRegularExpression:
		c.kind, c.path = byRegex, len(value)
		c.PathRegex, err = pattern.ParseRegex(whole(value))
	default:
		err = fmt.Errorf("the type of path %.64q is not supported", kind)
	}
	if err != nil {
		return c, err
	}
	if m.Method != nil {
		c.Method = []string{string(*m.Method)}
	}
	for _, h := range m.Headers {
		value, err := valuePattern(string(deref(h.Type, gwv1.HeaderMatchExact)), h.Value)
		if err != nil {
			return c, err
		}
		c.Header = addHeader(c.Header, strings.ToLower(string(h.Name)), value)
	}
	for _, q := range m.QueryParams {
		value, err := valuePattern(string(deref(q.Type, gwv1.QueryParamMatchExact)), q.Value)
		if err != nil {
			return c, err
		}
		c.Query = addHeader(c.Query, string(q.Name), value)
	}
	return c, nil
}

// addHeader adds a field unless there is one of that name: the first counts.
func addHeader(list config.Headers, name, value string) config.Headers {
	for _, h := range list {
		if h[0] == name {
			return list
		}
	}
	return slices.Clip(append(list, [2]string{name, value}))
}

func whole(expression string) string { return "^(?:" + expression + ")$" }

// valuePattern is a pattern of pattern.ParseValue.
func valuePattern(kind, value string) (string, error) {
	switch kind {
	case string(gwv1.HeaderMatchExact):
		if text, err := pattern.ParseText(value); err == nil && !strings.HasPrefix(value, "~") && !strings.Contains(value, "*") {
			return text.String(), nil
		}
		value = "~^" + regexp.QuoteMeta(value) + "$"
	case string(gwv1.HeaderMatchRegularExpression):
		value = "~" + whole(value)
	default:
		return "", fmt.Errorf("the type of match %.64q is not supported", kind)
	}
	_, err := pattern.ParseValue(value)
	return value, err
}

// hostRule is a match of a rule for one host of a listener.
type hostRule struct {
	rule      *rule
	match     int // in rule.matches
	routeHost string
	host      string
}

// precedence compares two matches of a listener: the one that is tried first is less. Only
// equal ones are equal (the Gateway API has the order at HTTPRouteSpec.Hostnames and
// HTTPRouteRule.Matches).
func precedence(a, b hostRule) int {
	m, n := &a.rule.matches[a.match], &b.rule.matches[b.match]
	return cmp.Or(
		moreSpecificLength(a.routeHost, b.routeHost),
		cmp.Compare(n.kind, m.kind),
		cmp.Compare(n.path, m.path),
		cmp.Compare(len(n.Method), len(m.Method)),
		cmp.Compare(len(n.Header), len(m.Header)),
		cmp.Compare(len(n.Query), len(m.Query)),
		byAge(a.rule.route, b.rule.route),
		cmp.Compare(a.rule.index, b.rule.index),
		cmp.Compare(a.match, b.match),
		cmp.Compare(a.host, b.host),
	)
}

// moreSpecificLength is moreSpecific for hosts of different routes, of which the length alone
// counts.
func moreSpecificLength(a, b string) int {
	if len(a) == len(b) && strings.HasPrefix(a, "*") == strings.HasPrefix(b, "*") {
		return 0
	}
	return moreSpecific(a, b)
}
