// Package archtest holds the source tree to the rules of ARCHITECTURE.md. It
// has no part in the balancer: its tests are all there is to run.
package archtest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/holdfast-ws/holdfast"

// allowed is the import matrix: what each package under internal/ may import
// of the others. Tests are free to import more.
//
// Stages are one step of a handshake each. They import leaves, never each
// other: whatever one needs of another is handed to it by proxy, the spine.
// Only app and cli know the configuration.
var allowed = map[string]string{
	// Leaves: words, contracts and bytes.
	"transport": "",
	"session":   "",
	"frame":     "",
	"httphead":  "",
	"forwarded": "httphead",
	"clock":     "",
	"pool":      "clock",
	"discovery": "pool",
	"eventloop": "session transport",
	"gonet":     "transport",

	// Leaves that say who a request is from.
	"requestkey": "",
	"affinity":   "requestkey",

	// Stages.
	"listener":  "transport",
	"handshake": "forwarded httphead session transport",
	"admission": "",
	"admit":     "clock",
	"route":     "",
	"balance":   "pool",
	"dial":      "transport",
	"relay":     "eventloop frame gonet session transport",
	"closing":   "session",

	// Beside the way of a session.
	"drain":     "clock pool session",
	"rebalance": "clock pool session",
	"health":    "pool",
	"httpproxy": "",
	"logging":   "session",
	"metrics":   "session",
	"admin":     "",
	"config":    "",
	"demo":      "admin",
	"doctor":    "frame",

	// The simulation is a second spine: it joins the same code to models.
	"simulate":      "admit balance bench/histogram clock drain pool rebalance session",
	"simulate/plot": "simulate",

	// The load generator, which shares the balancer's parsers but is no part
	// of it.
	"bench":           "bench/histogram bench/wsconn frame",
	"bench/histogram": "",
	"bench/server":    "bench/wsconn frame httphead",
	"bench/wsconn":    "frame httphead",

	// The spine, what puts it together, and the command line.
	"proxy": "admission admit affinity balance dial forwarded handshake httphead httpproxy relay requestkey route session transport",
	"app":   "admin admission admit affinity balance closing config dial discovery drain forwarded health listener logging metrics pool proxy rebalance relay requestkey route session",
	"cli":   "admin app bench bench/server bench/wsconn config demo doctor simulate simulate/plot",

	"archtest": "",
}

// public are the packages for other people's programs, at the module's root,
// and the modules that each may bring along. They import nothing of internal/.
var public = map[string]string{
	"backend": "",
	"hub":     "github.com/redis/go-redis/v9",
}

var stages = []string{"listener", "handshake", "admission", "route", "balance", "admit", "dial", "relay", "closing"}

// joiners may import stages: the spine, the simulation of it, and who makes
// their options.
var joiners = []string{"proxy", "simulate", "app"}

// maxLines bounds a Go file that is no test.
const maxLines = 400

// checkMatrix holds the matrix itself to what may not be allowed in it.
func checkMatrix(matrix map[string]string) (broken []string) {
	for _, name := range slices.Sorted(maps.Keys(matrix)) {
		for _, imported := range strings.Fields(matrix[name]) {
			switch {
			case slices.Contains(stages, name) && slices.Contains(append(stages, "config", "app", "proxy", "cli"), imported):
				broken = append(broken, fmt.Sprintf("the stage %s may not be allowed to import %s: have internal/proxy hand over what it needs", name, imported))
			case imported == "config" && name != "app" && name != "cli":
				broken = append(broken, fmt.Sprintf("%s may not be allowed to import config: have internal/app turn the configuration into plain options of its own", name))
			case slices.Contains(stages, imported) && !slices.Contains(joiners, name):
				broken = append(broken, fmt.Sprintf("%s may not be allowed to import the stage %s: only internal/proxy and internal/simulate join stages, and internal/app makes their options", name, imported))
			}
		}
	}
	return broken
}

// checkImports compares the packages under internal/ with the matrix.
func checkImports(tree fs.FS, matrix map[string]string) (broken []string, err error) {
	imports := map[string]map[string]string{} // package, imported package, a file that does
	err = walk(tree, func(name string, text []byte) error {
		pkg, ok := strings.CutPrefix(path.Dir(name), "internal/")
		if !ok || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		if imports[pkg] == nil {
			imports[pkg] = map[string]string{}
		}
		paths, err := importsOf(name, text)
		for _, p := range paths {
			if internal, ok := strings.CutPrefix(p, module+"/internal/"); ok {
				imports[pkg][internal] = name
			}
		}
		return err
	})
	for _, pkg := range slices.Sorted(maps.Keys(imports)) {
		may, known := matrix[pkg]
		if !known {
			broken = append(broken, fmt.Sprintf("internal/%s is not in the table of internal/archtest/rules.go: enter it there with what it may import, and in ARCHITECTURE.md with what it is for", pkg))
			continue
		}
		for _, imported := range slices.Sorted(maps.Keys(imports[pkg])) {
			if !slices.Contains(strings.Fields(may), imported) {
				broken = append(broken, fmt.Sprintf("%s imports internal/%s, and internal/%s may import only [%s]: pass what is needed as a plain option or a small interface", imports[pkg][imported], imported, pkg, may))
			}
		}
		for _, word := range strings.Fields(may) {
			if imports[pkg][word] == "" {
				broken = append(broken, fmt.Sprintf("internal/%s is allowed to import %s and doesn't: take it out of the table", pkg, word))
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(matrix)) {
		if imports[pkg] == nil {
			broken = append(broken, fmt.Sprintf("the table has internal/%s, which does not exist: take it out", pkg))
		}
	}
	return broken, err
}

// checkPublic compares the public packages with their table. An import path is
// not of the standard library where its first element has a dot.
func checkPublic(tree fs.FS, public map[string]string) (broken []string, err error) {
	exists := map[string]bool{}
	err = walk(tree, func(name string, text []byte) error {
		pkg := path.Dir(name)
		may, known := public[pkg]
		if !known || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		exists[pkg] = true
		paths, err := importsOf(name, text)
		for _, p := range paths {
			host, _, _ := strings.Cut(p, "/")
			if strings.Contains(host, ".") && !slices.ContainsFunc(strings.Fields(may), func(m string) bool { return p == m || strings.HasPrefix(p, m+"/") }) {
				broken = append(broken, fmt.Sprintf("%s imports %s, and the public package %s may import only [%s] beyond the standard library, since all who use it get it too", name, p, pkg, may))
			}
		}
		return err
	})
	for _, pkg := range slices.Sorted(maps.Keys(public)) {
		if !exists[pkg] {
			broken = append(broken, fmt.Sprintf("the table has the public package %s, which does not exist: take it out", pkg))
		}
	}
	return broken, err
}

// What may stand in no file. The words are taken apart here, lest this file
// breaks its own rules.
var forbidden = []struct {
	what *regexp.Regexp
	fix  string
}{
	{regexp.MustCompile(`//go:nora` + `ce`), "fix the race, or make the access atomic"},
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`), "do it, or write an issue and leave the note out"},
	{regexp.MustCompile(`\b[tbf]\.Skip(Now|f)?\(`), "have scripts/setup-tests.sh install what the test needs, or use a build constraint"},
}

// checkFiles looks for files that are too long, or have in them what may stand
// nowhere.
func checkFiles(tree fs.FS) (broken []string, err error) {
	err = walk(tree, func(name string, text []byte) error {
		switch path.Ext(name) {
		case ".go", ".js", ".mjs", ".sh", ".html", ".css":
		default:
			return nil
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if len(lines) > maxLines && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			broken = append(broken, fmt.Sprintf("%s has %d lines, %d at most: move what belongs together to a file of its own", name, len(lines), maxLines))
		}
		for _, f := range forbidden {
			if !f.what.Match(text) { // line by line is much slower
				continue
			}
			for i, line := range lines {
				if word := f.what.FindString(line); word != "" {
					broken = append(broken, fmt.Sprintf("%s:%d: %q: %s", name, i+1, word, f.fix))
				}
			}
		}
		return nil
	})
	return broken, err
}

// importsOf lists the import paths of a Go file, whatever system it is for.
func importsOf(name string, text []byte) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// walk calls f for every file of the project's own.
func walk(tree fs.FS, f func(name string, text []byte) error) error {
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := path.Base(name)
			if base == "node_modules" || base == "bin" || base == "testdata" || len(base) > 1 && base[0] == '.' {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return f(name, text)
	})
}
