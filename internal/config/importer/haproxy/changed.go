package haproxy

import (
	"regexp"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// changedPath evaluates a test of a path that a rule has changed, as far as the fixed
// parts of the new path say.
func (x *expander) changedPath(t *test) (matches, string) {
	const unknown = "the path has been changed by a rule before"
	begin, rest, variable := strings.Cut(x.state.path, "${")
	if !variable {
		return x.literal(t, begin)
	}
	if ms, ok := x.residual(t, begin); ok {
		return ms, ""
	}
	end := rest[strings.LastIndexByte(rest, '}')+1:]
	lower, ok := t.onlyCase()
	if !ok || t.fold || lower {
		return nil, unknown
	}
	for _, p := range t.patterns {
		switch t.method {
		case "beg":
			if strings.HasPrefix(begin, p) {
				return everything, ""
			}
			if strings.HasPrefix(p, begin) {
				return nil, unknown
			}
		case "end":
			if strings.HasSuffix(end, p) {
				return everything, ""
			}
			if strings.HasSuffix(p, end) {
				return nil, unknown
			}
		case "", "str":
			if strings.HasPrefix(p, begin) && strings.HasSuffix(p, end) {
				return nil, unknown
			}
		case "reg":
			if !disjoint(p, x.state.path) {
				return nil, unknown
			}
		default:
			return nil, unknown
		}
	}
	return nothing, ""
}

// residual evaluates a test of a path that consists of a fixed beginning and a part of the
// path before, by looking at that part. ok is false if that isn't possible.
func (x *expander) residual(t *test, begin string) (all matches, ok bool) {
	s := x.state
	regex, group := "", strings.TrimPrefix(s.path, begin)
	switch group {
	case "${path}":
	case "${1}":
		head, found := strings.CutSuffix(strings.TrimSuffix(s.pathRegex, "$"), "(.*)")
		if regex = head; !found || strings.ContainsAny(head, "(|") {
			return nil, false
		}
		if !strings.HasPrefix(regex, "^") {
			x.m.differ(t.line, "", "a path that has twice what a rule before looks for may be taken differently: begin its expression with ^")
		}
	default:
		return nil, false
	}
	if _, plain := t.onlyCase(); !plain || t.fold || len(t.conv) > 0 || t.method != "" && t.method != "str" && t.method != "beg" {
		return nil, false
	}
	all = nothing
	for _, p := range t.patterns {
		left, longer := strings.CutPrefix(p, begin)
		switch {
		case !longer && t.method == "beg" && strings.HasPrefix(begin, p):
			return everything, true
		case !longer:
			continue
		}
		var m config.Match
		var err string
		if group == "${path}" {
			if !strings.HasPrefix(left, "/") {
				if left != "" {
					continue // every path begins with a slash
				}
				return everything, t.method == "beg"
			}
			m, err = pathMatch(t, left)
		} else {
			of := *t
			of.method = "reg"
			text := regex + regexp.QuoteMeta(left)
			if t.method != "beg" {
				text += "$"
			}
			m, err = pathMatch(&of, text)
		}
		if err != "" {
			return nil, false
		}
		all = append(all, m)
	}
	return all, true
}

// join makes one expression of two that change the path one after the other: that of the
// second, and that of the first with the path it makes. The second one begins with a fixed
// text and has one group for the rest, as ^/old/(.*). It returns "" if it can't.
func join(second, template, first string) string {
	begin, rest, _ := strings.Cut(template, "${")
	fixed, ok := strings.CutSuffix(strings.TrimSuffix(second, "$"), "(.*)")
	if fixed, ok = strings.CutPrefix(fixed, "^"); !ok || regexp.QuoteMeta(fixed) != fixed {
		return ""
	}
	left, ok := strings.CutPrefix(fixed, begin)
	if !ok {
		return ""
	}
	head := "^"
	switch rest {
	case "path}":
	case "1}":
		if head, ok = strings.CutSuffix(strings.TrimSuffix(first, "$"), "(.*)"); !ok || strings.ContainsAny(head, "(|") {
			return ""
		}
	default:
		return ""
	}
	return head + left + "(.*)"
}

// disjoint reports whether an expression surely doesn't match what a template of a path
// makes, because they begin with different texts.
func disjoint(expression, template string) bool {
	anchored, ok := strings.CutPrefix(expression, "^")
	if !ok {
		return false
	}
	re, err := regexp.Compile(anchored)
	if err != nil {
		return false
	}
	want, _ := re.LiteralPrefix()
	if strings.Contains(anchored, "|") {
		return false
	}
	begin, _, _ := strings.Cut(template, "${")
	n := min(len(want), len(begin))
	return want[:n] != begin[:n]
}
