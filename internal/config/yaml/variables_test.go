package yaml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/config"
)

const withVariables = `
listeners: [{address: ":${HF_PORT}"}]
pools:
  chat:
    affinity: {cookie: {secret: "${file:cookie.secret}", secure: "${HF_SECURE:-always}"}}
    health: {tcp: "${HF_TCP}", interval: "${HF_SECONDS}0s", min_healthy: "${HF_SHARE:-50%}"}
    backends:
      - address: ${HF_HOST}:${HF_PORT}
        weight: ${HF_WEIGHT:-2}
        max_sessions: '${HF_NONE:-}7'
    reattach: {on: ["${HF_ON:-loss}"]}
    drain: {reason: "$${HF_HOST} ${HF_HOST} $${file:x} $${lower} ${lower} $5"}
http: {via: "${HF_VIA}"}
request_headers: {set: {X-A: "${HF_HOST} ${client_ip}"}}
`

// TestVariables: variables may be in any value, and become what is written in their place.
func TestVariables(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cookie.secret", "a secret of sixteen or more\r\n")
	for name, value := range map[string]string{"HF_PORT": "8080", "HF_TCP": "true", "HF_SECONDS": "3", "HF_HOST": "ws.internal", "HF_VIA": "FALSE", "HF_SECURE": "", "HF_ON": "drain"} {
		t.Setenv(name, value)
	}
	name := filepath.Join(dir, "holdfast.yaml")
	c, err := Parse(name, []byte(withVariables))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse(name, []byte(`
listeners: [{address: ":8080"}]
pools:
  chat:
    affinity: {cookie: {secret: "a secret of sixteen or more", secure: always}}
    health: {tcp: true, interval: 30s, min_healthy: 50%}
    backends: [{address: "ws.internal:8080", weight: 2, max_sessions: 7}]
    reattach: {on: [drain]}
    drain: {reason: "$${HF_HOST} ws.internal $${file:x} $${lower} ${lower} $5"}
http: {via: false}
request_headers: {set: {X-A: "ws.internal ${client_ip}"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Pools[0].Drain.Reason; got != "${HF_HOST} ws.internal ${file:x} $${lower} ${lower} $5" {
		t.Errorf("the reason is %q", got)
	}
	if got, want := dump(c, nil), dump(want, nil); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestVariableErrors: errors say where, what and what to do, and nothing of what a variable
// stands for.
func TestVariableErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "\n", "large": strings.Repeat("x", maxSecret+1), "binary": "a\x00b", "latin": "a\xe9", "short": "hunter2", "lines": "hunter2 and\nmore of it"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HF_WORD", "hunter2hunter2")
	t.Setenv("HF_EMPTY", "")
	t.Setenv("HF_BINARY", "a\x01")
	t.Setenv("HF_NUMBER", "70000")
	t.Setenv("HF_INJECT", "x}, b: {backends: [{address: \"b:1\"}]")
	for _, test := range []struct{ key, want string }{
		{"address: ${HF_MISSING}:80", "the environment variable HF_MISSING isn't set: set it, or give a default, as in ${HF_MISSING:-default}"},
		{"address: ${HF_PORT", `"${HF_PORT" is no variable: write ${NAME}, ${NAME:-default} or ${file:PATH}, or $${ for the text ${`},
		{"address: ${HF_PORT-80}", `"${HF_PORT-80}" is no variable: write ${NAME}, ${NAME:-default} or ${file:PATH}, or $${ for the text ${`},
		{"name: ${file:}", "the path is missing: write for example ${file:cookie.secret}"},
		{"name: ${file:none}", dir + "/none: no such file"},
		{"name: ${file:.}", dir + ": cannot read it: it is no regular file"},
		{"name: ${file:/dev/zero}", "/dev/zero: cannot read it: it is no regular file"},
		{"name: ${file:empty}", dir + "/empty: the file is empty"},
		{"name: ${file:large}", dir + "/large: larger than 65536 bytes, this cannot be a value"},
		{"name: ${file:binary}", dir + "/binary: the file has bytes in it that aren't text"},
		{"name: ${file:latin}", dir + "/latin: the file has bytes in it that aren't text"},
		{"name: ${HF_BINARY}", "the environment variable HF_BINARY has bytes in it that aren't text"},
		{"name: ${HF_EMPTY}", "the name is empty"},
		{"name: ${file:lines}", `the name "${file:lines}" has spaces or invisible characters in it`},
		{"name: ${HF_INJECT}", `the name "${HF_INJECT}" has spaces or invisible characters in it`},
		{"address: ${HF_WORD}", `bad address "${HF_WORD}": want host:port, such as 10.0.0.1:3000`},
		{"address: ${file:short}", `bad address "${file:short}": want host:port, such as 10.0.0.1:3000`},
		{"weight: ${HF_WORD}", `expected a whole number, got the text "${HF_WORD}"`},
		{"weight: ${HF_NUMBER}", `expected a number from 1 to 256, got ${HF_NUMBER}`},
		{"weight: ${HF_EMPTY}", `expected a whole number, got the text "${HF_EMPTY}"`},
		{"max_sessions: -${HF_NUMBER}", `expected a number from 0 to 100000000, got -${HF_NUMBER}`},
	} {
		text := "listeners: [{address: \":80\"}]\npools:\n  a:\n    backends:\n      - address: a:1\n      - address: b:1\n        " + test.key + "\n"
		if strings.HasPrefix(test.key, "address") {
			text = strings.Replace(text, "        address", "      - address", 1)
		}
		_, err := Parse(filepath.Join(dir, "f.yaml"), []byte(text))
		if err == nil {
			t.Errorf("%s: no error", test.key)
			continue
		}
		got := strings.TrimPrefix(err.Error(), filepath.Join(dir, "f.yaml")+":7:")
		if _, got, _ = strings.Cut(got, ": "); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.key, got, test.want)
		}
	}
}

// TestVariablesAreHidden: whatever the value of any key is replaced by a variable, no error
// and no warning shows what that stands for, also not about other keys.
func TestVariablesAreHidden(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	secrets := []string{"Hunter2.Zebra", "hunter2 zebra:z3br4", "hunter2/zebra", "/hunter2/zebra?a=b#c", "https://hunter2:zebra@x.y/z", "-77712345", "hunter2-" + strings.Repeat("zebra", 30)}
	parsed := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var document yaml.Node
		if err := yaml.Load(data, &document); err != nil {
			t.Fatal(err)
		}
		for at, n := range values(&document, nil) {
			was := *n
			{
				secret := secrets[at%len(secrets)]
				t.Setenv("HF_HIDDEN", secret)
				*n = yaml.Node{Kind: yaml.ScalarNode, Value: "${HF_HIDDEN}", Style: yaml.DoubleQuotedStyle}
				text, err := yaml.Dump(&document)
				if err != nil {
					t.Fatal(err)
				}
				c, err := Parse(file, text)
				parsed++
				shown := ""
				if err != nil {
					shown = err.Error()
				} else {
					shown = config.Errors(c.Warnings).Error()
				}
				for _, part := range []string{"unter2", "zebra", "z3br4", "77712345"} {
					for line := range strings.Lines(shown) {
						if strings.Contains(strings.ToLower(line), part) {
							t.Errorf("%s with %q: %s", file, secret, line)
						}
					}
				}
			}
			*n = was
		}
	}
	t.Logf("%d texts", parsed)
}

// values lists the nodes of single values.
func values(n *yaml.Node, list []*yaml.Node) []*yaml.Node {
	switch n.Kind {
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, child := range n.Content {
			list = values(child, list)
		}
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			list = values(n.Content[i], list)
		}
	case yaml.ScalarNode:
		if n.Anchor == "" {
			return append(list, n)
		}
	}
	return list
}

// FuzzVariables: a text that is escaped has no variable in it, and reading it gives the
// text. Any text either is an error or can be expanded.
func FuzzVariables(f *testing.F) {
	for _, s := range []string{"${A}", "$${A}", "$$${A:-b}", "${file:x}", "${a}", "$", "${", "a${HF_FUZZ}b", "${HF_FUZZ:-}}", "${HF_FUZZ:-${A}}", "${A", "$${A", "${file:/dev/zero}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := &decoder{File: &File{name: "/nowhere/f.yaml"}, files: map[string]string{}, env: func(name string) (string, bool) { return "value ${A}", name == "HF_FUZZ" }}
		if got, used, err := d.expand(escapeVariables(s)); err != nil || used || got != s {
			t.Errorf("%q is escaped as %q, and read as %q, %v, %v", s, escapeVariables(s), got, used, err)
		}
		if strings.Contains(s, "file:") {
			return // it could be any
		}
		if got, used, err := d.expand(s); err == nil && !used && strings.Count(got, "${") != strings.Count(s, "${") {
			t.Errorf("%q is read as %q", s, got)
		}
	})
}
