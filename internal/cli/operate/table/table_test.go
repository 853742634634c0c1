package table

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain ä €":             "plain ä €",
		"\x1b[2J\a":             `\x1b[2J\a`,
		"a\nb\tc\r":             `a\nb\tc\r`,
		"\u009b31m":             `\u009b31m`,
		"admin\u202enimda":      `admin\u202enimda`,
		"no\xffutf8":            `no\xffutf8`,
		"zero\u200bwidth\ufeff": `zero\u200bwidth\ufeff`,
		`C:\n`:                  `C:\n`,
	} {
		if got := Escape(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func isSafe(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) < 0
}

// Whatever is in it, JSON is harmless and means the same.
func TestJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.Rune()).Draw(t, "text")
		for _, encode := range []func(any) ([]byte, error){JSON, Line} {
			out, err := encode(map[string]string{"a": text})
			if err != nil || !isSafe(string(out)) {
				t.Fatalf("%q, %v", out, err)
			}
			var back map[string]string
			if err := json.Unmarshal(out, &back); err != nil || back["a"] != text {
				t.Fatalf("%s means %q, %v, want %q", out, back["a"], err, text)
			}
		}
	})
	if out, _ := Line(map[string]any{"a": "<\x1b\u2028\U000e0001>", "b": []int{1}}); string(out) != `{"a":"<\u001b\u2028\udb40\udc01>","b":[1]}`+"\n" {
		t.Errorf("%s", out)
	}
}

// A table with columns that can be cut is never wider than the terminal, and no cell can
// disturb it.
func TestWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "columns")
		columns := make([]Column, n+1)
		for i := range columns {
			columns[i] = Column{Title: "TITLE", Right: rapid.Bool().Draw(t, "right"), Drop: rapid.IntRange(0, 3).Draw(t, "drop"), Cut: true}
		}
		table := New(columns...)
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.String(), n, n), 0, 4).Draw(t, "rows")
		for _, r := range rows {
			table.Row(r...)
		}
		width := rapid.IntRange(n*(minimum+gap), 200).Draw(t, "width")
		var out strings.Builder
		if err := table.Write(&out, width); err != nil {
			t.Fatal(err)
		}
		if !isSafe(out.String()) || strings.Count(out.String(), "\n") != 1+len(rows) {
			t.Fatalf("%q", out.String())
		}
		for line := range strings.Lines(out.String()) {
			if utf8.RuneCountInString(line)-1 > width {
				t.Fatalf("%q is wider than %d", line, width)
			}
		}
	})
}

func TestNotes(t *testing.T) {
	table := New(Column{Title: "NAME"}, Column{Title: "N", Right: true, Drop: 1}, Column{Title: "NOTE"})
	table.Row("one", "1", "refused: it doesn't answer at all")
	table.Row("two", "22", "")
	for width, want := range map[int]string{
		0:  "NAME   N  NOTE\none    1  refused: it doesn't answer at all\ntwo   22\n",
		50: "NAME   N  NOTE\none    1  refused: it doesn't answer at all\ntwo   22\n",
		20: "NAME   N\none    1\n    refused: it\n    doesn't answer\n    at all\ntwo   22\n",
		7:  "NAME\none\n    refused:\n    it\n    doesn't\n    answer\n    at\n    all\ntwo\n",
	} {
		var out strings.Builder
		if err := table.Write(&out, width); err != nil || out.String() != want {
			t.Errorf("%d wide:\n%s, want\n%s", width, out.String(), want)
		}
	}
}
