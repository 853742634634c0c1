package haproxy

import (
	"regexp"
	"strings"
)

// changedPath evaluates a test of a path that a rule has changed, as far as the fixed
// parts of the new path say.
func (x *expander) changedPath(t *test) (matches, string) {
	const unknown = "the path has been changed by a rule before"
	begin, rest, variable := strings.Cut(x.state.path, "${")
	if !variable {
		return x.literal(t, begin)
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
