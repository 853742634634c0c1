package pattern

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatchText(t *testing.T) {
	for _, c := range []struct {
		pattern          string
		matches, differs []string
	}{
		{"gold", []string{"gold"}, []string{"", "Gold", "golden", "agold"}},
		{"*", []string{"", "x", "a b"}, nil},
		{"a*", []string{"a", "ab", "a*"}, []string{"", "ba"}},
		{"*z", []string{"z", "az", "zz"}, []string{"", "za"}},
		{"a*z", []string{"az", "abz", "azz", "azaz"}, []string{"a", "z", "aza"}},
		{"*Mobile*Safari*", []string{"Mobile Safari", "x Mobile/1 Safari/2 y"}, []string{"Safari Mobile", "Mobile"}},
		{"a**b", []string{"ab", "a**b"}, []string{"a"}},
		{"*a*ab", []string{"aab", "xaxaab"}, []string{"ab", "aaba"}},
	} {
		p, err := ParseText(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.matches {
			if !MatchText(p, s) || !MatchText(p, []byte(s)) {
				t.Errorf("%q doesn't match %q", p, s)
			}
		}
		for _, s := range c.differs {
			if MatchText(p, s) || MatchText(p, []byte(s)) {
				t.Errorf("%q matches %q", p, s)
			}
		}
	}
	for in, want := range map[string]string{"": "empty", "a\nb": "control", " a": "space", "a\t": "control", strings.Repeat("a", 257): "longer"} {
		if _, err := ParseText(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", in, err, want)
		}
	}
}

// TestMatchTextAgainstRegexp compares patterns with the regular expressions that say the
// same.
func TestMatchTextAgainstRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := ParseText(rapid.StringMatching(`[ab*]{1,8}`).Draw(t, "pattern"))
		if err != nil {
			t.Fatal(err)
		}
		s := rapid.StringMatching(`[ab]{0,12}`).Draw(t, "text")
		same := regexp.MustCompile("^" + strings.ReplaceAll(p.String(), "*", ".*") + "$")
		if got := MatchText(p, s); got != same.MatchString(s) {
			t.Fatalf("%q matches %q: %t", p, s, got)
		}
	})
}
