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

// report fails the test for each broken rule, with a message that says how to fix it.
func report(t *testing.T, broken []string, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

func TestRules(t *testing.T) { report(t, checkRules(rules), nil) }

func TestImports(t *testing.T) {
	broken, err := checkImports(tree, rules)
	report(t, broken, err)
}

func TestPublicPackages(t *testing.T) {
	broken, err := checkPublic(tree, public)
	report(t, broken, err)
}

func TestTestkit(t *testing.T) {
	broken, err := checkTestkit(tree)
	report(t, broken, err)
}

func TestNestedModule(t *testing.T) {
	broken, err := checkNested(tree, nested)
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
	internal, err := importsByPackage(tree)
	if err != nil {
		t.Fatal(err)
	}
	more, err := nestedPackages(tree)
	if err != nil {
		t.Fatal(err)
	}
	packages := slices.AppendSeq(slices.Collect(maps.Keys(internal)), maps.Keys(public))
	packages = append(packages, more...)
	slices.Sort(packages)
	for _, pkg := range packages {
		if !slices.Contains(documented, pkg) {
			t.Errorf("ARCHITECTURE.md has no line for %s: add it to the package tables", pkg)
		}
	}
	for _, pkg := range documented {
		if !slices.Contains(packages, pkg) {
			t.Errorf("the package tables of ARCHITECTURE.md have %s, which does not exist: remove it", pkg)
		}
	}
}

// Each check detects a violation.
func TestChecksDetectViolations(t *testing.T) {
	const imp = "import _ \"" + module + "/internal/"
	files := func(more fstest.MapFS) fstest.MapFS {
		all := fstest.MapFS{
			"go.mod":                   {Data: []byte("module m\nrequire (\n\texample.com/lib v1.0.0\n)\n")},
			"docs/dependencies.md":     {Data: []byte("| `example.com/lib` | a reason |\n")},
			"internal/stage/dial/d.go": {Data: []byte("package dial\nimport _ \"example.com/lib/sub\"\n" + imp + "wire\"\n")},
			"internal/wire/w.go":       {Data: []byte("package wire\n")},
		}
		maps.Copy(all, more)
		return all
	}
	imports := func(stageMay string) func(fs.FS) ([]string, error) {
		rules := []rule{{folder: "wire"}, {folder: "stage", mayImport: stageMay, apart: true}}
		return func(tree fs.FS) ([]string, error) { return checkImports(tree, rules) }
	}
	nestedImports := func(may string) func(fs.FS) ([]string, error) {
		return func(tree fs.FS) ([]string, error) {
			return checkNested(tree, []nestedRule{{"kubernetes/internal", may}})
		}
	}
	publics := func(m string) func(fs.FS) ([]string, error) {
		return func(tree fs.FS) ([]string, error) { return checkPublic(tree, map[string]string{"kit": m}) }
	}
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		check func(fs.FS) ([]string, error)
		want  string // part of the only message; "" if there is none
	}{
		{"clean imports", nil, imports("wire"), ""},
		{"clean files", nil, checkFiles, ""},
		{"clean dependencies", nil, checkDependencies, ""},
		{"an import that is not allowed", nil, imports(""), "internal/stage/dial/d.go imports internal/wire"},
		{"an import of another stage", fstest.MapFS{"internal/stage/dial/x_windows.go": {Data: []byte("package dial\n" + imp + "stage/route\"\n")}}, imports("wire"), "internal/stage/dial/x_windows.go imports internal/stage/route"},
		{"an import of a part of itself", fstest.MapFS{"internal/stage/dial/x.go": {Data: []byte("package dial\n" + imp + "stage/dial/part\"\n")}}, imports("wire"), ""},
		{"an import of a test", fstest.MapFS{"internal/stage/dial/x_test.go": {Data: []byte("package dial\n" + imp + "stage/route\"\n")}}, imports("wire"), ""},
		{"a package without a rule", fstest.MapFS{"internal/new/x.go": {Data: []byte("package new\n")}}, imports("wire"), "internal/new has no rule"},
		{"an allowed import that is not used", nil, imports("wire/frame wire"), "is allowed to import wire/frame and doesn't"},
		{"a public package with an import of its own", fstest.MapFS{"kit/k.go": {Data: []byte("package kit\nimport _ \"net/http\"\nimport _ \"example.com/lib/sub\"\n")}}, publics("example.com/lib"), ""},
		{"a public package with an import of ours", fstest.MapFS{"kit/k.go": {Data: []byte("package kit\n" + imp + "route\"\n")}}, publics("example.com/lib"), "kit/k.go imports " + module + "/internal/route"},
		{"a missing public package", nil, publics(""), "public package kit, which does not exist"},
		{"an import of testkit by tests", fstest.MapFS{
			"cmd/x_test.go":               {Data: []byte("package cmd\n" + imp + "testkit\"\n")},
			"test/kit.go":                 {Data: []byte("package test\n" + imp + "testkit/process\"\n")},
			"internal/testkit/redis/r.go": {Data: []byte("package redis\n" + imp + "testkit\"\n")},
		}, checkTestkit, ""},
		{"an import of testkit outside tests", fstest.MapFS{"cmd/x.go": {Data: []byte("package cmd\n" + imp + "testkit/process\"\n")}}, checkTestkit, "cmd/x.go imports " + module + "/internal/testkit/process"},
		{"a nested package with an allowed import", fstest.MapFS{"kubernetes/internal/x/x.go": {Data: []byte("package x\n" + imp + "wire/frame\"\n")}}, nestedImports("wire"), ""},
		{"a nested package with another import", fstest.MapFS{"kubernetes/internal/x/x.go": {Data: []byte("package x\n" + imp + "wireless\"\n")}}, nestedImports("wire"), "kubernetes/internal/x/x.go imports internal/wireless"},
		{"a nested package without a rule", fstest.MapFS{"kubernetes/x/x.go": {Data: []byte("package x\n" + imp + "wire\"\n")}}, nestedImports("wire"), "kubernetes/x/x.go imports internal/wire"},
		{"an import of the laboratory", fstest.MapFS{
			"kubernetes/cmd/x/x.go":      {Data: []byte("package x\nimport _ \"" + module + "/kubernetes/lab/kubelet\"\n")},
			"kubernetes/cmd/x/x_test.go": {Data: []byte("package x\nimport _ \"" + module + "/kubernetes/lab\"\n")},
			"kubernetes/lab/lab.go":      {Data: []byte("package lab\nimport _ \"" + module + "/kubernetes/lab/kubelet\"\n")},
		}, nestedImports("wire"), "kubernetes/cmd/x/x.go imports " + module + "/kubernetes/lab/kubelet, which only tests"},
		{"a long file", fstest.MapFS{"internal/stage/dial/long.go": {Data: []byte(strings.Repeat("//\n", maxLines+1))}}, checkFiles, "has 401 lines"},
		{"a long test", fstest.MapFS{"internal/stage/dial/long_test.go": {Data: []byte(strings.Repeat("//\n", maxLines+1))}}, checkFiles, ""},
		{"a note about missing work", fstest.MapFS{"page.js": {Data: []byte("// TO" + "DO: more\n")}}, checkFiles, "page.js:1"},
		{"a hidden race", fstest.MapFS{"x.go": {Data: []byte("package x\n//go:nora" + "ce\n")}}, checkFiles, "x.go:2"},
		{"a skipped test", fstest.MapFS{"x_test.go": {Data: []byte("t.Ski" + "p(\"no\")\n")}}, checkFiles, "x_test.go:1"},
		{"a generated file", fstest.MapFS{"node_modules/x.js": {Data: []byte("// TO" + "DO\n")}}, checkFiles, ""},
		{"a module without a reason", fstest.MapFS{"docs/dependencies.md": {Data: []byte("none\n")}}, checkDependencies, "needs example.com/lib"},
		{"a nested module without a reason", fstest.MapFS{
			"nested/go.mod":   {Data: []byte("module n\nrequire example.com/other v1.0.0\nrequire " + module + " v0.0.0\n")},
			"nested/sub/n.go": {Data: []byte("package sub\nimport _ \"example.com/other\"\n" + imp + "wire\"\n")},
			"nested/sub/o.go": {Data: []byte("package sub\nimport _ \"example.com/lib/sub\"\n")},
		}, checkDependencies, "nested/sub/n.go needs example.com/other"},
		{"a reason without a module", fstest.MapFS{"internal/stage/dial/d.go": {Data: []byte("package dial\n")}}, checkDependencies, "which nothing needs"},
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
	for _, c := range []struct{ folder, mayImport, want string }{
		{"stage", "proxy", "arrows go down only"},
		{"stage", "config", "arrows go down only"},
		{"ops/admin", "config", "may not be allowed to import config"},
		{"ops/admin", "stage/route", "join stages"},
		{"proxy", "stage", ""},
		{"app", "stage/route config", ""},
		{"cli", "nothing", "arrows go down only"},
	} {
		order := []rule{{folder: "config"}, {folder: "stage"}, {folder: "proxy"}, {folder: "ops/admin"}, {folder: "app"}, {folder: "cli"}}
		for i := range order {
			if order[i].folder == c.folder {
				order[i].mayImport = c.mayImport
			}
		}
		if c.folder == "stage" {
			order[0], order[1] = order[1], order[0]
		}
		broken := strings.Join(checkRules(order), "\n")
		if c.want == "" && broken != "" || !strings.Contains(broken, c.want) {
			t.Errorf("%s with %q: got %q, want %q", c.folder, c.mayImport, broken, c.want)
		}
	}
}
