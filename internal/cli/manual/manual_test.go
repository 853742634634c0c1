package manual

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestBlocks(t *testing.T) {
	got := Blocks("One\ntwo.\n\n  it a\n    b\n\nThree\n  it c\n")
	want := []Block{{false, "One\ntwo."}, {true, "it a\n  b"}, {false, "Three"}, {true, "it c"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestConfig(t *testing.T) {
	markdown, err := os.ReadFile("testdata/config.md")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Config(&out, string(markdown)); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/config.5"
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || out.String() != string(want) {
		t.Errorf("%v, the page is\n%s\nRun go test ./internal/cli/manual -update if that is right.", err, out.String())
	}
}

// What is written has no line that roff takes for a request of its own.
func FuzzConfig(f *testing.F) {
	markdown, err := os.ReadFile("testdata/config.md")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(markdown))
	f.Add("| a | b |\n|---|---|\n| .x | `'y` |\n")
	f.Add("# \n```\n.so /etc/passwd\n```\n- [.x](y)")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\r\v\f\u0085\u2028\u2029") {
			return // no line breaks in our documents
		}
		var out strings.Builder
		if err := Config(&out, text); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch {
			case !strings.HasPrefix(line, ".") && !strings.HasPrefix(line, "'"):
			case !strings.Contains(" .TH .nh .ad .SH .SS .PP .RS .nf .fi .RE .TP .IP ", " "+word+" "):
				t.Fatalf("%q makes the request %q", text, line)
			}
		}
	})
}
