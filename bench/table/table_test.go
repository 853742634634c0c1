package table

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMark(t *testing.T) {
	const b, e = beginMark, endMark
	for _, c := range []struct{ name, doc, want string }{
		{"no file", "", "# Performance\n\n" + b + "\nnew\n" + e + "\n"},
		{"no marks", "# P\n\ntext\n\n", "# P\n\ntext\n\n" + b + "\nnew\n" + e + "\n"},
		{"marks", "before\n" + b + "\nold\nold\n" + e + "\nafter\n", "before\n" + b + "\nnew\n" + e + "\nafter\n"},
		{"empty marks", b + e, b + "\nnew\n" + e},
	} {
		got, err := mark(c.doc, "\nnew\n\n")
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	for _, doc := range []string{b, e, e + b} {
		if got, err := mark(doc, "new"); err == nil {
			t.Errorf("%q was accepted: %q", doc, got)
		}
	}
}

func TestReplace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.md")
	for _, text := range []string{"one", "two"} {
		if err := Replace(file, text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if want := "# Performance\n\n" + beginMark + "\ntwo\n" + endMark + "\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := Replace(filepath.Join(file, "below"), "x"); err == nil {
		t.Error("an impossible path was accepted")
	}
}

func TestFormat(t *testing.T) {
	got := Format([]string{"a", "b"}, []Row{
		{"memory", 0, [][]float64{{3000, 1000, 2000.4}, {1234567}}, []bool{false, true}},
		{"latency", 2, [][]float64{{-0.5, 0.25}, nil}, []bool{false, false}},
	})
	want := "| | a | b |\n|---|---:|---:|\n| memory | 2,000 | 1,234,567 ! |\n| latency | -0.12 | – |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestNumber(t *testing.T) {
	for want, v := range map[string]float64{"0": 0, "999": 999, "1,000": 1000, "-12,345": -12345, "-999": -999} {
		if got := number(v, 0); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}
