package syntax

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPositions(t *testing.T) {
	docs, err := Parse([]byte("---\n# a comment\n---\na: 1\nb:\n  - x: \"é\"\n    y: |\n      two\n      lines\n---\n{\"c\": {\"d\": null}}\n"))
	if err != nil || len(docs) != 2 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	x := docs[0].Get("b").Items[0].Get("x")
	if x.Text != "é" || x.Pos != (Pos{6, 8}) {
		t.Errorf("x is %+v", x)
	}
	if y := docs[0].Get("b").Items[0].Fields[1]; y.Value.Text != "two\nlines\n" || y.Pos != (Pos{7, 5}) {
		t.Errorf("y is %+v", y)
	}
	if c := docs[1].Fields[0]; c.Key != "c" || c.Pos != (Pos{11, 2}) || docs[1].Get("c", "d") != nil || docs[1].Get("c", "d", "e") != nil {
		t.Errorf("c is %+v", c)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\na: 2":                         `2:1: duplicate key "a" (first in line 1)`,
		"a: [":                               `not YAML`,
		"a: b: c":                            `1:5: not YAML: a key cannot stand here`,
		"a: {{ .Values.x }}\nb: {{- if x }}": `templates must be rendered first`,
		"a: &x {b: 1}\nc: {<<: *x}":          `2:5: merge keys`,
		"? [a]\n: b":                         `a key must be a single value`,
		"a: \xff":                            `1:4: not text in UTF-8`,
		"a: \x01":                            `1:4: not text in UTF-8`,
		strings.Repeat("[", 200) + strings.Repeat("]", 200):                                                                `nested more than 100 deep`,
		"a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [" + strings.Repeat("*a,", 100) + "]\nc: [" + strings.Repeat("*b,", 100) + "]": `too much is repeated by aliases`,
	} {
		_, err := Parse([]byte(text))
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// A text of 10,000 lines takes far less than a second even on a slow machine; the
// benchmark has the figure.
func long() []byte {
	var b strings.Builder
	for i := 0; strings.Count(b.String(), "\n") < 100; i++ {
		fmt.Fprintf(&b, "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i%d\n  annotations:\n    nginx.ingress.kubernetes.io/affinity: cookie\nspec:\n  rules:\n    - host: h%d.example.com\n      http:\n        paths:\n          - {path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}\n", i, i)
	}
	return []byte(strings.Repeat(b.String(), 10_000/strings.Count(b.String(), "\n")+1))
}

func BenchmarkParse10000Lines(b *testing.B) {
	text := long()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzParse: whatever the text, there is no panic, positions are in it, and an error has
// one line.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("../testdata/*.yaml")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(string(text))
		}
	}
	for _, s := range []string{"a: &x [*x]", "- a\n- {b: c}", "a: !!binary x", "{\"a\":[1,2,{}]}", "%YAML 1.2\n---\na", "a: |+\n\n  x\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := Parse([]byte(text))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error has several lines: %q", err)
			}
			return
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") + strings.Count(text, "\u2028") + strings.Count(text, "\u2029") + 2 // the end is after the last line
		var walk func(*Node)
		walk = func(n *Node) {
			if n.Line < 1 || n.Line > lines || n.Col < 1 {
				t.Errorf("%+v in a text of %d lines", n.Pos, lines)
			}
			for _, f := range n.Fields {
				walk(f.Value)
			}
			for _, i := range n.Items {
				walk(i)
			}
		}
		for _, d := range docs {
			walk(d)
		}
	})
}
