// Package archtest checks the source tree against the rules of ARCHITECTURE.md:
// which package may import which, how long a file may be, and which dependencies
// there are. It consists of tests only; the balancer doesn't use it.
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

// rule says which other packages under internal/ the packages of a folder may
// import. Tests may import more.
type rule struct {
	folder string
	// mayImport lists folders and packages, separated by spaces. A folder
	// includes everything in it.
	mayImport string
	// apart means that the packages of the folder must not import each other.
	apart bool
}

// rules lists the folders from bottom to top. A folder may import only folders
// before it, so there is no cycle. For a package, the rule with the longest path
// counts.
//
// A stage is one step of a connection. Stages never import each other: proxy, the
// spine, passes to a stage what it needs from another. Only app and cli know the
// configuration.
var rules = []rule{
	// Basic types, time, and pure functions over bytes.
	{folder: "session"},
	{folder: "clock"},
	{folder: "spread"},
	{folder: "hint"},
	{folder: "tally"},
	{folder: "wire", mayImport: "hint"},

	// Failures of handshakes, and when to retry.
	{folder: "failure"},
	{folder: "retry", mayImport: "failure"},

	// Connections, TLS on them, and backends over time.
	{folder: "sock", mayImport: "session wire/hostport wire/proxyproto"},
	{folder: "tls/tlsrec"},
	{folder: "tls/acme"},
	{folder: "tls/certs", mayImport: "hint"},
	{folder: "tls/tickets"},
	{folder: "tls/tlsconn", mayImport: "sock/transport tls/tlsrec wire/clienthello wire/hostport"},
	{folder: "tls/backendtls", mayImport: "hint sock/transport tls/tlsconn tls/tlsrec wire/hostport"},
	{folder: "upstream", mayImport: "clock hint session wire"},

	// Who clients are.
	{folder: "identity"},

	// The steps of a connection, and its session.
	{folder: "stage", mayImport: "clock failure identity session sock tally tls/certs tls/tickets tls/tlsconn upstream/pool wire", apart: true},
	{folder: "relay", mayImport: "failure retry session sock spread tls/tlsconn tls/tlsrec wire/frame"},
	{folder: "httpproxy", mayImport: "sock/transport wire"},
	{folder: "proxy", mayImport: "failure httpproxy relay retry session sock stage tls/backendtls tls/tlsconn wire"},

	// What operators see, and the other commands. The simulation connects the
	// same code to models, as the spine connects it to sockets.
	{folder: "ops", mayImport: "session tally"},
	{folder: "tool", mayImport: "ops wire"},
	{folder: "tool/simulate", mayImport: "clock failure proxy/reservation retry session spread stage/balance stage/ratelimit tool/bench/histogram upstream"},

	// The configuration, what builds a balancer from it, and the command line.
	{folder: "config", mayImport: "hint session wire"},
	{folder: "app", mayImport: "config failure hint httpproxy identity ops proxy relay session sock/activation sock/transport sock/unixsock stage tally tls/acme tls/backendtls tls/certs tls/tickets upstream wire"},
	{folder: "cli", mayImport: "app config ops tool upstream/discovery"},

	{folder: "archtest"},

	// Only tests import it, see checkTestkit.
	{folder: "testkit"},
}

// public has the packages at the module's root that other programs import, each
// with the modules and packages that it may depend on. They must not import internal/.
var public = map[string]string{
	"backend":     "",
	"hub":         "github.com/redis/go-redis/v9",
	"hub/metrics": module + "/hub github.com/prometheus/client_golang",
}

// joiners may import stages: the spine, the simulation, and app, which creates
// their options.
var joiners = []string{"proxy", "tool/simulate", "app"}

// maxLines is the maximum length of a Go file that isn't a test.
const maxLines = 400

// within reports whether pkg is folder or in it.
func within(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

// checkRules checks the rules themselves.
func checkRules(rules []rule) (broken []string) {
	for i, r := range rules {
		for _, word := range strings.Fields(r.mayImport) {
			lower := slices.ContainsFunc(rules[:i], func(l rule) bool { return within(word, l.folder) })
			switch {
			case !lower:
				broken = append(broken, fmt.Sprintf("%s may not be allowed to import %s, which isn't before it in the table: arrows go down only", r.folder, word))
			case within(word, "config") && r.folder != "app" && r.folder != "cli":
				broken = append(broken, fmt.Sprintf("%s may not be allowed to import config: internal/app turns the configuration into plain options", r.folder))
			case within(word, "stage") && !slices.Contains(joiners, r.folder):
				broken = append(broken, fmt.Sprintf("%s may not be allowed to import %s: only %s join stages", r.folder, word, strings.Join(joiners, ", ")))
			}
		}
	}
	return broken
}

// ruleOf returns the rule for a package, nil if there is none.
func ruleOf(rules []rule, pkg string) (best *rule) {
	for i, r := range rules {
		if within(pkg, r.folder) && (best == nil || len(r.folder) > len(best.folder)) {
			best = &rules[i]
		}
	}
	return best
}

// permits reports whether pkg may import imported, and which word of mayImport
// allows it.
func (r *rule) permits(pkg, imported string) (word string, ok bool) {
	if within(imported, r.folder) {
		return "", !r.apart || within(imported, pkg)
	}
	for _, word := range strings.Fields(r.mayImport) {
		if within(imported, word) {
			return word, true
		}
	}
	return "", false
}

// checkImports checks the imports of the packages under internal/.
func checkImports(tree fs.FS, rules []rule) (broken []string, err error) {
	packages, err := importsByPackage(tree)
	if err != nil {
		return nil, err
	}
	used := map[*rule]map[string]bool{}
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		r := ruleOf(rules, pkg)
		if r == nil {
			broken = append(broken, fmt.Sprintf("internal/%s has no rule in internal/archtest/rules.go: move it to a folder that has one, or add a rule", pkg))
			continue
		}
		if used[r] == nil {
			used[r] = map[string]bool{}
		}
		for _, imported := range slices.Sorted(maps.Keys(packages[pkg])) {
			word, ok := r.permits(pkg, imported)
			used[r][word] = true
			switch {
			case !ok && r.apart && within(imported, r.folder):
				broken = append(broken, fmt.Sprintf("%s imports internal/%s, but packages of internal/%s must not import each other: let internal/proxy pass what it needs", packages[pkg][imported], imported, r.folder))
			case !ok:
				broken = append(broken, fmt.Sprintf("%s imports internal/%s, but packages of internal/%s may import only [%s]: pass a plain option or a small interface", packages[pkg][imported], imported, r.folder, r.mayImport))
			}
		}
	}
	for i := range rules {
		r := &rules[i]
		if used[r] == nil {
			broken = append(broken, fmt.Sprintf("there is a rule for internal/%s, which has no package: remove it", r.folder))
			continue
		}
		for _, word := range strings.Fields(r.mayImport) {
			if !used[r][word] {
				broken = append(broken, fmt.Sprintf("internal/%s is allowed to import %s and doesn't: remove it from the rule", r.folder, word))
			}
		}
	}
	return broken, nil
}

// importsByPackage lists, for each package under internal/, the packages under
// internal/ that it imports, each with a file that imports it.
func importsByPackage(tree fs.FS) (map[string]map[string]string, error) {
	packages := map[string]map[string]string{}
	err := walk(tree, func(name string, text []byte) error {
		pkg, ok := strings.CutPrefix(path.Dir(name), "internal/")
		if !ok || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		if packages[pkg] == nil {
			packages[pkg] = map[string]string{}
		}
		paths, err := importsOf(name, text)
		for _, p := range paths {
			if internal, ok := strings.CutPrefix(p, module+"/internal/"); ok {
				packages[pkg][internal] = name
			}
		}
		return err
	})
	return packages, err
}

// checkPublic checks the imports of the public packages. An import path whose
// first element has a dot isn't from the standard library.
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
				broken = append(broken, fmt.Sprintf("%s imports %s, and the public package %s may import only [%s] beyond the standard library, since its users get these dependencies, too", name, p, pkg, may))
			}
		}
		return err
	})
	for _, pkg := range slices.Sorted(maps.Keys(public)) {
		if !exists[pkg] {
			broken = append(broken, fmt.Sprintf("the table has the public package %s, which does not exist: remove it", pkg))
		}
	}
	return broken, err
}

// checkTestkit looks for imports of internal/testkit outside tests and what only they use.
func checkTestkit(tree fs.FS) (broken []string, err error) {
	err = walk(tree, func(name string, text []byte) error {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
			within(name, "internal/testkit") || within(name, "test") || within(name, "kubernetes/lab") || within(name, "kubernetes/test") {
			return nil
		}
		paths, err := importsOf(name, text)
		for _, p := range paths {
			if within(p, module+"/internal/testkit") {
				broken = append(broken, fmt.Sprintf("%s imports %s, which only tests may import: move the code that needs it to a _test.go file", name, p))
			}
		}
		return err
	})
	return broken, err
}

// forbidden must not occur in any file. The words are split here, so that this
// file doesn't break its own rule.
var forbidden = []struct {
	what *regexp.Regexp
	fix  string
}{
	{regexp.MustCompile(`//go:nora` + `ce`), "fix the race, or make the access atomic"},
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`), "do it, or write an issue and remove the note"},
	{regexp.MustCompile(`\b[tbf]\.Skip(Now|f)?\(`), "have scripts/setup-tests.sh install what the test needs, or use a build constraint"},
}

// checkFiles finds files that are too long or contain something forbidden.
func checkFiles(tree fs.FS) (broken []string, err error) {
	err = walk(tree, func(name string, text []byte) error {
		switch path.Ext(name) {
		case ".go", ".js", ".mjs", ".sh", ".html", ".css":
		default:
			return nil
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if len(lines) > maxLines && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			broken = append(broken, fmt.Sprintf("%s has %d lines, the maximum is %d: split it by subject", name, len(lines), maxLines))
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

// importsOf lists the import paths of a Go file, for any system.
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

// walk calls f for every file of the project, except dependencies, test data and
// build results.
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
