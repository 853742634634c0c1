package archtest

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// nestedRule says which packages of internal/ the packages of a folder of the nested
// module may import. Tests may import more.
type nestedRule struct {
	folder, mayImport string
}

// nested has the rules for the module kubernetes, whose packages build a configuration
// and run it by app. Packages that aren't listed import nothing of internal/.
var nested = []nestedRule{
	{"kubernetes/api", "config"},
	{"kubernetes/cmd", "app config ops"},
	{"kubernetes/internal", "app cli config hint ops session stage/listener upstream wire"},
	// It checks keys for tokens that are in Secrets.
	{"kubernetes/internal/policy", "config hint identity/jwtkeys wire"},
	{"kubernetes/lab", "testkit wire/proxyproto"},
	{"kubernetes/test", "testkit"},
}

// nestedModules are the folders of the modules with a go.mod of their own. What makes
// releases, packaging, and what compares hub with others, bench/hub, import nothing of
// internal/.
var nestedModules = []string{"bench/hub", "kubernetes", "packaging"}

func inNestedModule(name string) bool {
	return slices.ContainsFunc(nestedModules, func(m string) bool { return within(name, m) })
}

// nestedPackages lists the packages of the nested modules, except those of tests only.
func nestedPackages(tree fs.FS) (packages []string, err error) {
	err = walk(tree, func(name string, text []byte) error {
		dir := path.Dir(name)
		if inNestedModule(name) && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !slices.Contains(packages, dir) {
			packages = append(packages, dir)
		}
		return nil
	})
	return packages, err
}

// checkNested checks the imports of the nested modules, and that only its tests import the
// laboratory that they run in.
func checkNested(tree fs.FS, rules []nestedRule) (broken []string, err error) {
	err = walk(tree, func(name string, text []byte) error {
		if !inNestedModule(name) || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		may := ""
		for _, r := range rules {
			if within(name, r.folder) {
				may = r.mayImport
			}
		}
		paths, err := importsOf(name, text)
		for _, p := range paths {
			if within(p, module+"/kubernetes/lab") && !within(name, "kubernetes/lab") && !within(name, "kubernetes/test") {
				broken = append(broken, fmt.Sprintf("%s imports %s, which only tests may import: move the code that needs it to a _test.go file", name, p))
			}
			internal, ok := strings.CutPrefix(p, module+"/internal/")
			if !ok {
				continue
			}
			allowed := false
			for word := range strings.FieldsSeq(may) {
				allowed = allowed || within(internal, word)
			}
			if !allowed {
				broken = append(broken, fmt.Sprintf("%s imports internal/%s, but its folder may import only [%s] of internal/: build a config.Config, or add it to the rules in internal/archtest/nested.go", name, internal, may))
			}
		}
		return err
	})
	return broken, err
}
