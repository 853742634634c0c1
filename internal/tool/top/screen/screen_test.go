package screen

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain ~", "plain ~"},
		{"Grüße 日本", "Grüße 日本"},
		{"\x1b[31m", `\x1b[31m`},
		{"a\tb\nc\rd", `a\tb\nc\rd`},
		{"\x9b\xff", `\x9b\xff`},
		{"\u009b", `\u009b`},
		{"\u202eabc\u2066", `\u202eabc\u2066`},
		{"a\u200db\ufe0f", `a\u200db\ufe0f`},
		{"a" + strings.Repeat("\u0301", 4), "a\u0301\u0301" + `\u0301\u0301`},
		{"\u0903x", `\u0903x`},    // would join a space before it
		{"x\\\u0d4e", `x\\u0d4e`}, // and this one after it
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.in, got, c.want)
		}
	}
}

func TestCleanIsPrintable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "in")
		got := Clean(in)
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q has %U", got, r)
			}
		}
		if len(got) > 10*maxClean {
			t.Fatalf("%d bytes", len(got))
		}
		for _, c := range []Charset{{}, {ASCII: true}} {
			w := rapid.IntRange(0, 50).Draw(t, "width")
			for _, s := range []string{c.Left(got, w), c.Right(got, w)} {
				if Width(s) != w {
					t.Fatalf("%q has %d columns, want %d", s, Width(s), w)
				}
			}
		}
	})
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(9999), "9999"}, {Count(10_000), "10.0k"}, {Count(99_949), "99.9k"}, {Count(99_950), "100k"},
		{Count(999_499), "999k"}, {Count(999_500), "1.0M"}, {Count(uint64(math.MaxUint64)), "18447P"},
		{Rate(0), "0"}, {Rate(0.04), "0"}, {Rate(0.05), "0.1"}, {Rate(99.94), "99.9"}, {Rate(99.96), "100"}, {Rate(12_345), "12.3k"}, {Rate(math.NaN()), "0"},
		{Bytes(999), "999 B"}, {Bytes(1000), "1.0 kB"}, {Bytes(9_960), "10 kB"}, {Bytes(999_600), "1.0 MB"},
		{Seconds(0), "0ms"}, {Seconds(0.00042), "0.4ms"}, {Seconds(0.0123), "12ms"}, {Seconds(1.5), "1.5s"}, {Seconds(150), "2m30s"}, {Seconds(-1), "-"}, {Seconds(math.NaN()), "-"},
		{Duration(-time.Second), "0s"}, {Duration(59 * time.Second), "59s"}, {Duration(192 * time.Second), "3m12s"}, {Duration(125 * time.Minute), "2h05m"},
		{Duration(98 * time.Hour), "4d02h"}, {Duration(400 * 24 * time.Hour), "400d"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// However narrow it is, the columns fit, and they use all of a width that is large enough.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Column {
			return Column{Width: rapid.IntRange(0, 20).Draw(t, "width"), Grow: rapid.IntRange(0, 3).Draw(t, "grow"), Drop: rapid.IntRange(0, 5).Draw(t, "drop")}
		}), 0, 10).Draw(t, "columns")
		width := rapid.IntRange(0, 300).Draw(t, "width")
		widths := Layout(columns, width)
		if got := total(widths); got > width {
			t.Fatalf("%d columns of %d: %v", got, width, widths)
		}
		grows := false
		for i, c := range columns {
			grows = grows || c.Grow > 0 && widths[i] > 0
			if widths[i] > 0 && widths[i] < c.Width && width > 250 {
				t.Fatalf("column %d has %d of %d", i, widths[i], c.Width)
			}
		}
		if grows && total(widths) != width {
			t.Fatalf("%v use %d of %d", widths, total(widths), width)
		}
	})
}

func TestLayoutDropsByOrder(t *testing.T) {
	columns := []Column{{Width: 10}, {Width: 10, Drop: 1}, {Width: 10, Drop: 2}}
	for _, c := range []struct {
		width int
		want  [3]int
	}{{32, [3]int{10, 10, 10}}, {31, [3]int{10, 10, 0}}, {20, [3]int{10, 0, 0}}, {4, [3]int{4, 0, 0}}} {
		if got := Layout(columns, c.width); [3]int(got) != c.want {
			t.Errorf("width %d: %v, want %v", c.width, got, c.want)
		}
	}
}

func TestCharts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Charset{}.Spark([]float64{0, 1, 4, 8}, 6), "   ▂▅█"},
		{Charset{}.Spark([]float64{9, 9, 1, 2}, 2), "▅█"},
		{Charset{ASCII: true}.Spark([]float64{0, 1, 8}, 3), " :@"},
		{Charset{}.Spark(nil, 2), "  "},
		{Charset{}.Bar(0.5, 4), "██░░"},
		{Charset{ASCII: true}.Bar(2, 4), "####"},
		{Charset{}.Bar(math.NaN(), 2), "░░"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestCharsetOf(t *testing.T) {
	for _, c := range []struct {
		env   map[string]string
		ascii bool
	}{
		{nil, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, false},
		{map[string]string{"LANG": "C"}, true},
		{map[string]string{"LANG": "C", "LC_ALL": "C.utf8"}, false},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_CTYPE": "en_US.ISO-8859-1"}, true},
		{map[string]string{"LANG": "en_US.UTF-8", "TERM": "linux"}, true},
	} {
		if got := CharsetOf(func(name string) string { return c.env[name] }); got.ASCII != c.ascii {
			t.Errorf("%v: ASCII is %v", c.env, got.ASCII)
		}
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		keys []string // texts begin with ":"
		want string   // with | for the cursor
	}{
		{[]string{":abc"}, "abc|"},
		{[]string{":abc", "left", "left", ":x"}, "ax|bc"},
		{[]string{":äö", "backspace"}, "ä|"},
		{[]string{":abc", "home", "delete", "right"}, "b|c"},
		{[]string{":one two", "ctrl+w"}, "one |"},
		{[]string{":one two ", "ctrl+w", "ctrl+w"}, "|"},
		{[]string{":abc", "left", "ctrl+u"}, "|c"},
		{[]string{":abc", "home", "right", "ctrl+k", "end"}, "a|"},
		{[]string{":a\x1b[2Jb\nc\u202e\xff"}, "a[2Jb c|"},
		{[]string{"backspace", "delete", "left", "right"}, "|"},
	} {
		var l Line
		for _, k := range c.keys {
			if text, ok := strings.CutPrefix(k, ":"); ok {
				l.Insert(text)
			} else if !l.Key(k) {
				t.Errorf("%s does nothing", k)
			}
		}
		if got := l.before + "|" + l.after; got != c.want {
			t.Errorf("%q: %q, want %q", c.keys, got, c.want)
		}
	}
	var l Line
	l.Insert(strings.Repeat("ä", maxLine))
	if len(l.Text()) > maxLine {
		t.Errorf("%d bytes", len(l.Text()))
	}
	if text, cursor := l.View(Charset{}, 10); Width(text) != 10 || cursor != 9 {
		t.Errorf("it shows %q, cursor %d", text, cursor)
	}
}
