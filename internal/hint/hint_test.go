package hint

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	known := []string{"name", "address", "weight", "max_lifetime", "warn", "websocket"}
	for word, want := range map[string]string{
		"nmae":                      "name",
		"adress":                    "address",
		"addr":                      "address",
		"ADDRESS":                   "address",
		"wieght":                    "weight",
		"maxLifetime":               "max_lifetime",
		"lifetime":                  "",
		"warning":                   "warn",
		"web_socket":                "websocket",
		"websockets":                "websocket",
		"colour":                    "",
		"n":                         "",
		"":                          "",
		strings.Repeat("name", 100): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// TestEditDistanceIsAMetric checks what any distance of edits has, and that
// one edit is a distance of one.
func TestEditDistanceIsAMetric(t *testing.T) {
	const far = 100
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ab_]{0,8}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := editDistance(a, b, far)
		if d != editDistance(b, a, far) {
			t.Fatalf("not symmetric")
		}
		if (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("distance %d", d)
		}
		if a == "" {
			return
		}
		i := rapid.IntRange(0, len(a)-1).Draw(t, "i")
		edited := []string{a[:i] + "x" + a[i:], a[:i] + a[i+1:], a[:i] + "x" + a[i+1:]}
		if i > 0 && a[i-1] != a[i] {
			edited = append(edited, a[:i-1]+a[i:i+1]+a[i-1:i]+a[i+1:])
		}
		for _, e := range edited {
			if got := editDistance(a, e, far); got != 1 {
				t.Fatalf("from %q to %q: %d, want 1", a, e, got)
			}
		}
	})
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                      `""`,
		"a\x1b[31m":             `"a\x1b[31m"`,
		strings.Repeat("ä", 80): `"` + strings.Repeat("ä", 80) + `"`,
		strings.Repeat("ä", 81): `"` + strings.Repeat("ä", 80) + `…"`,
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}
