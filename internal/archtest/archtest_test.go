package archtest

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var tree = os.DirFS("../..")

// report fails for each broken rule, in words that say how to mend it.
func report(t *testing.T, broken []string, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

func TestMatrix(t *testing.T) { report(t, checkMatrix(allowed), nil) }

func TestImports(t *testing.T) {
	broken, err := checkImports(tree, allowed)
	report(t, broken, err)
}

func TestPublicPackages(t *testing.T) {
	broken, err := checkPublic(tree, public)
	report(t, broken, err)
}

func TestFiles(t *testing.T) {
	broken, err := checkFiles(tree)
	report(t, broken, err)
}

func TestDependencies(t *testing.T) {
	broken, err := checkDependencies(tree)
	report(t, broken, err)
}

// The package table of ARCHITECTURE.md has a line for each package.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	text, err := fs.ReadFile(tree, "ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := firstColumn(string(text))
	packages := slices.AppendSeq(slices.Collect(maps.Keys(allowed)), maps.Keys(public))
	slices.Sort(packages)
	for _, pkg := range packages {
		if !slices.Contains(documented, pkg) {
			t.Errorf("ARCHITECTURE.md has no line for %s: add it to the package tables", pkg)
		}
	}
	for _, pkg := range documented {
		if !slices.Contains(packages, pkg) {
			t.Errorf("the package tables of ARCHITECTURE.md have %s, which does not exist: take it out", pkg)
		}
	}
}

// The rules notice what they are there for.
func TestRulesNoticeViolations(t *testing.T) {
	const imp = "import _ \"" + module + "/internal/"
	files := func(more fstest.MapFS) fstest.MapFS {
		all := fstest.MapFS{
			"go.mod":               {Data: []byte("module m\nrequire (\n\texample.com/lib v1.0.0\n)\n")},
			"docs/dependencies.md": {Data: []byte("| `example.com/lib` | a reason |\n")},
			"internal/dial/d.go":   {Data: []byte("package dial\nimport _ \"example.com/lib/sub\"\n")},
		}
		maps.Copy(all, more)
		return all
	}
	imports := func(m string) func(fs.FS) ([]string, error) {
		return func(tree fs.FS) ([]string, error) { return checkImports(tree, map[string]string{"dial": m}) }
	}
	publics := func(m string) func(fs.FS) ([]string, error) {
		return func(tree fs.FS) ([]string, error) { return checkPublic(tree, map[string]string{"kit": m}) }
	}
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		check func(fs.FS) ([]string, error)
		want  string // part of the only message; "" where all is well
	}{
		{"clean imports", nil, imports(""), ""},
		{"clean files", nil, checkFiles, ""},
		{"clean dependencies", nil, checkDependencies, ""},
		{"an import that is not allowed", fstest.MapFS{"internal/dial/x_windows.go": {Data: []byte("package dial\n" + imp + "route\"\n")}}, imports(""), "internal/dial/x_windows.go imports internal/route"},
		{"an import of a test", fstest.MapFS{"internal/dial/x_test.go": {Data: []byte("package dial\n" + imp + "route\"\n")}}, imports(""), ""},
		{"a package that is not in the table", fstest.MapFS{"internal/new/x.go": {Data: []byte("package new\n")}}, imports(""), "internal/new is not in the table"},
		{"an allowed import that is not used", nil, imports("session"), "allowed to import session and doesn't"},
		{"a public package with an import of its own", fstest.MapFS{"kit/k.go": {Data: []byte("package kit\nimport _ \"net/http\"\nimport _ \"example.com/lib/sub\"\n")}}, publics("example.com/lib"), ""},
		{"a public package with an import of ours", fstest.MapFS{"kit/k.go": {Data: []byte("package kit\n" + imp + "route\"\n")}}, publics("example.com/lib"), "kit/k.go imports " + module + "/internal/route"},
		{"a public package that is not there", nil, publics(""), "public package kit, which does not exist"},
		{"a long file", fstest.MapFS{"internal/dial/long.go": {Data: []byte(strings.Repeat("//\n", maxLines+1))}}, checkFiles, "has 401 lines"},
		{"a long test", fstest.MapFS{"internal/dial/long_test.go": {Data: []byte(strings.Repeat("//\n", maxLines+1))}}, checkFiles, ""},
		{"a note of work to be done", fstest.MapFS{"page.js": {Data: []byte("// TO" + "DO: more\n")}}, checkFiles, "page.js:1"},
		{"a race hidden", fstest.MapFS{"x.go": {Data: []byte("package x\n//go:nora" + "ce\n")}}, checkFiles, "x.go:2"},
		{"a test skipped", fstest.MapFS{"x_test.go": {Data: []byte("t.Ski" + "p(\"no\")\n")}}, checkFiles, "x_test.go:1"},
		{"what is generated", fstest.MapFS{"node_modules/x.js": {Data: []byte("// TO" + "DO\n")}}, checkFiles, ""},
		{"a module without a reason", fstest.MapFS{"docs/dependencies.md": {Data: []byte("none\n")}}, checkDependencies, "needs example.com/lib"},
		{"a reason without a module", fstest.MapFS{"internal/dial/d.go": {Data: []byte("package dial\n")}}, checkDependencies, "which nothing needs"},
		{"an npm package without a reason", fstest.MapFS{"test/package.json": {Data: []byte(`{"devDependencies": {"left-pad": "1"}}`)}}, checkDependencies, "needs left-pad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken, err := c.check(files(c.files))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(broken) > 0:
				t.Errorf("got %q, want nothing", broken)
			case c.want != "" && (len(broken) != 1 || !strings.Contains(broken[0], c.want)):
				t.Errorf("got %q, want one message with %q", broken, c.want)
			}
		})
	}
	for matrix, want := range map[[2]string]string{
		{"dial", "route"}:    "the stage dial",
		{"dial", "config"}:   "the stage dial",
		{"admin", "config"}:  "admin may not be allowed to import config",
		{"admin", "route"}:   "import the stage route",
		{"proxy", "route"}:   "",
		{"app", "route"}:     "",
		{"app", "config"}:    "",
		{"relay", "session"}: "",
	} {
		broken := strings.Join(checkMatrix(map[string]string{matrix[0]: matrix[1]}), "\n")
		if want == "" && broken != "" || !strings.Contains(broken, want) {
			t.Errorf("%v: got %q, want %q", matrix, broken, want)
		}
	}
}
