package pattern

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Bounds of a regular expression: of its text in bytes, and of what it is compiled to,
// in instructions. The time of a match grows with the product of the latter and the
// length of what is matched, and "(x{100}){100}" is short.
const (
	maxRegex        = 1024
	maxInstructions = 1000
)

// Regex is a regular expression in the syntax of RE2, which package regexp documents. It
// matches a text if it matches any part of it, unless it is anchored by ^ and $. Case
// matters, unless it begins with "(?i)". The zero Regex matches every text.
type Regex struct {
	text string
	re   *regexp.Regexp
}

// ParseRegex reads a regular expression. The empty text is refused, since it could be a
// mistake.
func ParseRegex(s string) (Regex, error) {
	bad := func(why string, args ...any) (Regex, error) {
		return Regex{}, fmt.Errorf("bad regular expression %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	switch {
	case s == "":
		return Regex{}, errors.New("the regular expression is empty: leave the key out to match everything")
	case len(s) > maxRegex:
		return bad("it is longer than %d bytes", maxRegex)
	case strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return bad("it has control characters in it")
	}
	parsed, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return bad("%s", whatIsWrong(err))
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return bad("%v", err)
	}
	if n := len(prog.Inst); n > maxInstructions {
		return bad("matching it would take too long: use smaller counts in braces, or split it up")
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return bad("%s", whatIsWrong(err))
	}
	return Regex{s, re}, nil
}

// whatIsWrong explains what those miss who know the expressions of Perl.
func whatIsWrong(err error) string {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	what := fmt.Sprintf("%s %s", e.Code, hint.Quote(e.Expr))
	looks := func(prefix string) bool { return strings.HasPrefix(e.Expr, prefix) }
	switch {
	case looks("(?=") || looks("(?!") || looks("(?<=") || looks("(?<!"):
		return what + ": expressions can't look ahead or behind; list what must not match under not"
	case e.Code == syntax.ErrInvalidEscape && len(e.Expr) == 2 && e.Expr[1] >= '1' && e.Expr[1] <= '9':
		return what + ": an expression can't refer back to what it has matched"
	}
	return what
}

// String returns the expression as ParseRegex read it; "" for the zero Regex.
func (r Regex) String() string { return r.text }

// IsZero reports whether r matches every text.
func (r Regex) IsZero() bool { return r.re == nil }

// Groups is how many groups of r capture something.
func (r Regex) Groups() int {
	if r.re == nil {
		return 0
	}
	return r.re.NumSubexp()
}

// FoldCase returns r for texts in which case doesn't matter.
func (r Regex) FoldCase() Regex {
	if r.re == nil {
		return r
	}
	return Regex{r.text, regexp.MustCompile("(?i)" + r.text)}
}

// MatchRegex reports whether r matches s. It is kept apart from the other patterns, since
// a text that is given to an expression can't stay on the stack.
func MatchRegex[S ~string | ~[]byte](r Regex, s S) bool {
	if r.re == nil {
		return true
	}
	switch s := any(s).(type) {
	case string:
		return r.re.MatchString(s)
	case []byte:
		return r.re.Match(s)
	}
	return r.re.MatchString(string(s))
}

// Value is a pattern for the value of a field or a parameter: a Text, or after "~" a
// Regex. The zero Value matches only the empty one.
type Value struct {
	Text
	Regex
}

// ParseValue reads a pattern in the form that Value describes.
func ParseValue(s string) (v Value, err error) {
	if expression, ok := strings.CutPrefix(s, "~"); ok {
		if expression == "" {
			return v, fmt.Errorf("a regular expression is missing after %q: write %q for any value", "~", "*")
		}
		v.Regex, err = ParseRegex(expression)
		return v, err
	}
	v.Text, err = ParseText(s)
	return v, err
}

// Matches reports whether v matches s.
func (v *Value) Matches(s []byte) bool {
	if v.Regex.re != nil {
		return v.Regex.re.Match(s)
	}
	return MatchText(v.Text, s)
}

// String returns the pattern as ParseValue read it.
func (v Value) String() string {
	if !v.Regex.IsZero() {
		return "~" + v.Regex.text
	}
	return v.Text.text
}
