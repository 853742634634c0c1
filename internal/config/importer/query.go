package importer

import (
	"regexp/syntax"
	"slices"
)

// SeesQuery reports whether an expression over a path and a query may find in the query
// what it looks for. It can't if it has to begin where the path does, and if it matches
// no question mark before its end.
func SeesQuery(expression string) bool {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return true
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	if parts[0].Op != syntax.OpBeginText {
		return true
	}
	// What follows without an end of its own, as in ^/ws.*, is not looked for.
	last := len(parts) - 1
	if parts[last].Op == syntax.OpEndText && last > 1 && matchesAll(parts[last-1]) {
		last--
	}
	if matchesAll(parts[last]) {
		last--
	}
	return slices.ContainsFunc(parts[:last+1], findsQuestionMark)
}

// matchesAll reports whether an expression is .*, maybe in parentheses.
func matchesAll(re *syntax.Regexp) bool {
	if re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL)
}

func findsQuestionMark(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpLiteral:
		return slices.Contains(re.Rune, '?')
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i] <= '?' && '?' <= re.Rune[i+1] {
				return true
			}
		}
	}
	return slices.ContainsFunc(re.Sub, findsQuestionMark)
}
