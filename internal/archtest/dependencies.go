package archtest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// checkDependencies compares the modules that Go files import, and the npm
// packages in package.json files, with the tables of docs/dependencies.md, which
// have each in backquotes in the first column. The modules of a Go file are those of
// the go.mod above it.
func checkDependencies(tree fs.FS) (broken []string, err error) {
	doc, err := fs.ReadFile(tree, "docs/dependencies.md")
	if err != nil {
		return nil, err
	}
	modules := map[string][]string{} // folder of a go.mod, its modules
	err = walk(tree, func(name string, text []byte) error {
		if path.Base(name) == "go.mod" {
			modules[path.Dir(name)] = required(string(text))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	used := map[string]string{} // dependency, a file that needs it
	err = walk(tree, func(name string, text []byte) error {
		switch {
		case path.Base(name) == "package.json":
			var p struct{ Dependencies, DevDependencies map[string]string }
			if err := json.Unmarshal(text, &p); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, deps := range []map[string]string{p.Dependencies, p.DevDependencies} {
				for d := range deps {
					used[d] = name
				}
			}
		case strings.HasSuffix(name, ".go"):
			paths, err := importsOf(name, text)
			if err != nil {
				return err
			}
			for _, p := range paths {
				if m := moduleOf(p, modules[root(name, modules)]); m != "" && m != module {
					used[m] = name
				}
			}
		}
		return nil
	})
	documented := firstColumn(string(doc))
	for _, d := range slices.Sorted(maps.Keys(used)) {
		if !slices.Contains(documented, d) {
			broken = append(broken, fmt.Sprintf("%s needs %s, which docs/dependencies.md doesn't list: add a line with the reason, or avoid the dependency", used[d], d))
		}
	}
	for _, d := range documented {
		if used[d] == "" {
			broken = append(broken, fmt.Sprintf("docs/dependencies.md has %s, which nothing needs: remove it", d))
		}
	}
	return broken, err
}

// root returns the folder of the go.mod that a file belongs to.
func root(name string, modules map[string][]string) string {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if _, ok := modules[dir]; ok || dir == "." {
			return dir
		}
	}
}

// required lists the modules of a go.mod, direct and indirect.
func required(gomod string) (modules []string) {
	inside := false
	for line := range strings.Lines(gomod) {
		words := strings.Fields(line)
		switch {
		case len(words) > 1 && words[0] == "require" && words[1] == "(":
			inside = true
		case len(words) > 0 && words[0] == ")":
			inside = false
		case len(words) > 2 && words[0] == "require":
			modules = append(modules, words[1])
		case inside && len(words) > 1:
			modules = append(modules, words[0])
		}
	}
	return modules
}

// moduleOf returns the module of a package, "" for the standard library and for
// this module.
func moduleOf(pkg string, modules []string) (best string) {
	for _, m := range modules {
		if (pkg == m || strings.HasPrefix(pkg, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

// firstColumn lists the words in backquotes in the first column of the tables of
// a Markdown text.
func firstColumn(text string) (words []string) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			if word, _, ok := strings.Cut(rest, "`"); ok {
				words = append(words, word)
			}
		}
	}
	return words
}
