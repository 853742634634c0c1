//go:build unix

// Package scripts tests the scripts in this directory with fake programs instead
// of make and go.
package scripts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runScript runs a copy of a script of this directory in an empty tree, where
// setup-tests.sh does nothing and the programs are shell scripts. It returns
// its output and its exit status.
func runScript(t *testing.T, script string, programs map[string]string, args ...string) (output string, status int) {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"scripts/" + script: string(text), "scripts/setup-tests.sh": "#!/bin/sh\necho installing\n"}
	for name, body := range programs {
		files["bin/"+name] = "#!/bin/sh\n" + body
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "scripts", script), args...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// expect checks the status, and that the output has the lines in their order.
func expect(t *testing.T, output string, status, want int, lines ...string) {
	t.Helper()
	if status != want {
		t.Errorf("exit status %d, want %d", status, want)
	}
	rest := "\n" + output
	for _, line := range lines {
		_, after, ok := strings.Cut(rest, "\n"+line+"\n")
		if !ok {
			t.Fatalf("no line %q where it should be in:\n%s", line, output)
		}
		rest = "\n" + after
	}
}

// All parts run even if one fails, and all failures are listed at the end.
func TestAllPartsRun(t *testing.T) {
	output, status := runScript(t, "test.sh", map[string]string{"make": `
case "$2" in
lint) echo "lint: gofmt failed"; exit 1 ;;
race) printf -- '--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n        why\nFAIL\tpackage/a\t0.1s\nok  \tpackage/b\t0.1s\n'; exit 1 ;;
e2e) echo "no word that is known"; exit 1 ;;
kube) echo "kube runs" ;;
fuzz) echo "fuzz runs"; exit 0 ;;
esac
`})
	expect(t, output, status, 1, "installing", "== lint", "== race", "== e2e", "== kube", "kube runs", "== fuzz", "fuzz runs", "== summary",
		"lint failed:", "lint: gofmt failed",
		"race failed:", "--- FAIL: TestA (0.00s)", "    --- FAIL: TestA/b (0.00s)", "FAIL\tpackage/a\t0.1s",
		"e2e failed:", "no word that is known")
	if _, summary, _ := strings.Cut(output, "== summary"); strings.Contains(output, "fuzz failed") || strings.Contains(summary, "why") || strings.Contains(summary, "package/b") {
		t.Errorf("the summary has what did not fail:\n%s", output)
	}
}

// A few tests that fail run again, alone. What passes then is no failure, but listed.
func TestFailedTestsRunAgain(t *testing.T) {
	const failed = `echo '--- FAIL: TestA (0.00s)
    --- FAIL: TestA/b (0.00s)
--- FAIL: TestB (0.00s)
FAIL
FAIL	package/one	0.1s
ok  	package/two	0.1s
--- FAIL: TestC (0.00s)
FAIL
FAIL	package/three	0.1s'
`
	run := func(first, again string) (output string, status int) {
		return runScript(t, "test.sh", map[string]string{"make": "[ -z \"$PACKAGES\" ] || { echo \"$2 of $PACKAGES: $RUN\"; " + again + "; exit; }\n" + first + "exit 1\n"}, "race", "kube")
	}
	output, status := run(failed, "true")
	expect(t, output, status, 0, "== race", "== kube",
		"== race again: ^(TestA|TestB)$ in package/one", "race of package/one: ^(TestA|TestB)$", "race of package/three: ^(TestC)$", "kube of package/three: ^(TestC)$",
		"== summary", "race is flaky; alone, these passed:", "--- FAIL: TestA (0.00s)", "FAIL\tpackage/three\t0.1s", "kube is flaky; alone, these passed:")
	if strings.Count(output, " flaky ") != 2 {
		t.Errorf("two parts are flaky, and it says:\n%s", output)
	}
	output, status = run(failed, `[ "$2" = race ]`)
	expect(t, output, status, 1, "== summary", "race is flaky; alone, these passed:", "kube failed:", "--- FAIL: TestA (0.00s)")

	for _, first := range []string{
		failed + "echo '--- FAIL: TestD (0.00s)\nFAIL\nFAIL	package/four	0.1s'\n", // too many
		failed + "echo 'WARNING: DATA RACE'\n",
		failed + "echo 'panic: none'\n",
		failed + "echo '    a_test.go:1: standard error of holdfast: panic: none'\n",
		failed + "echo 'FAIL	package/four	0.1s'\n", // such as a leak
		failed + "echo 'FAIL	package/four [build failed]'\n",
		failed + "echo '# package/four\nvet: four.go:1:1: wrong'\n",
		"echo '--- FAIL: TestD (0.00s)\nFAIL\nFAIL	holdfast/packaging/release	0.1s'\n", // another module
		"echo 'make: *** [Makefile:1: race] Error 1'\n",
	} {
		output, status := run(first, "true")
		expect(t, output, status, 1, "== summary", "race failed:")
		if strings.Contains(output, "again") {
			t.Errorf("run again:\n%s", output)
		}
	}
}

// The parts e2e and kube run at the same time: here each waits for the other.
func TestPartsAtTheSameTime(t *testing.T) {
	together := `case $2 in
e2e) touch e2e; while [ ! -e kube ]; do :; done ;;
kube) touch kube; while [ ! -e e2e ]; do :; done; echo "kube: output"; exit 3 ;;
esac
echo "$2 is done"`
	out, status := runScript(t, "test.sh", map[string]string{"make": together}, "e2e", "kube", "fuzz")
	expect(t, out, status, 1, "== e2e", "e2e is done", "== kube", "kube: output", "== fuzz", "fuzz is done", "== summary", "kube failed:")
	// In another order, one after the other.
	out, status = runScript(t, "test.sh", map[string]string{"make": `echo "$2 is done"`}, "kube", "e2e")
	expect(t, out, status, 0, "== kube", "kube is done", "== e2e", "e2e is done", "== summary")
}

func TestAllPartsPass(t *testing.T) {
	output, status := runScript(t, "test.sh", map[string]string{"make": "exit 0"})
	expect(t, output, status, 0, "== summary")
	if strings.Contains(output, "failed") || strings.Count(output, " ok ") != 5 {
		t.Errorf("nothing failed, and it says:\n%s", output)
	}
}

func TestLintReportsAll(t *testing.T) {
	output, status := runScript(t, "lint.sh", map[string]string{
		"git":   "mkdir -p kubernetes bench/hub; echo a.go",
		"gofmt": "echo a.go",
		"go":    `[ "$GOOS $1" != "darwin vet" ] && [ "$GOOS $1" != "windows build" ]`,
	})
	expect(t, output, status, 1, "a.go", "lint: gofmt failed", "lint: go vet for darwin failed", "lint: build for windows failed")
	if n := strings.Count(output, "lint: "); n != 3 {
		t.Errorf("%d failures, want 3:\n%s", n, output)
	}
	output, status = runScript(t, "lint.sh", map[string]string{"git": "mkdir -p kubernetes bench/hub; echo a.go", "gofmt": "true", "go": "true"})
	expect(t, output, status, 0)
}

func TestFuzzReportsAll(t *testing.T) {
	// The test binary of package/one has two targets, that of package/three one.
	programs := func(failing string) map[string]string {
		return map[string]string{
			"nproc": "echo 1", // one after another, in order
			"git":   `mkdir -p one two three; printf '%s\n' one/a_test.go one/b_test.go two/a_test.go three/a_test.go`,
			"go": `here=$(basename "$PWD")
case $1 in
list) echo "package/$here" ;;
env) echo "$PWD" ;;
test)
	case "` + failing + `" in *"$here"*) exit 1 ;; esac
	case $here in
	one) targets='FuzzA FuzzB' ;;
	three) targets=FuzzC ;;
	*) targets= ;;
	esac
	cat >"$6" <<-END
		#!/bin/sh
		if [ \$1 = -test.list ]; then printf '%s\n' $targets; exit; fi
		case " ` + failing + ` " in *" \$4 "*) echo "found \$4"; exit 1 ;; esac
	END
	chmod +x "$6" ;;
esac
`}
	}
	output, status := runScript(t, "fuzz.sh", programs("^FuzzA$ ^FuzzC$"))
	expect(t, output, status, 1, "fuzz package/one FuzzA", "fuzz package/one FuzzB", "fuzz package/three FuzzC",
		"fuzz: package/one FuzzA failed", "fuzz: found ^FuzzA$", "fuzz: package/three FuzzC failed", "fuzz: found ^FuzzC$")
	if n := strings.Count(output, "fuzz: "); n != 4 {
		t.Errorf("%d lines about failures, want 4:\n%s", n, output)
	}
	output, status = runScript(t, "fuzz.sh", programs(""))
	expect(t, output, status, 0, "fuzz package/three FuzzC")
	// A package that does not compile is a failure too.
	output, status = runScript(t, "fuzz.sh", programs("two"))
	expect(t, output, status, 1, "fuzz package/three FuzzC", "fuzz: two: building it failed")
	// So is a tree without targets.
	output, status = runScript(t, "fuzz.sh", map[string]string{"git": "true", "go": "true"})
	expect(t, output, status, 1, "fuzz: finding a target failed")
}

func TestGoVersionsReportsAll(t *testing.T) {
	// The first release can't be had, the second one fails with one processor.
	output, status := runScript(t, "go-versions.sh", map[string]string{"go": `
[ "$1 $GOTOOLCHAIN" != "version go0.1" ] || exit 1
[ "$1 $GOTOOLCHAIN $GOMAXPROCS" != "test go0.2 1" ] || exit 1
`}, "go0.1", "go0.2", "go0.3")
	expect(t, output, status, 1, "go-versions: go0.1: getting the toolchain failed",
		"go-versions: go0.2: internal/sock with GOMAXPROCS=1 failed")
	if n := strings.Count(output, "failed"); n != 2 {
		t.Errorf("%d failures, want 2:\n%s", n, output)
	}
	output, status = runScript(t, "go-versions.sh", map[string]string{"go": "echo $GOTOOLCHAIN $1", "awk": "echo 0.4"})
	expect(t, output, status, 0, "== oldest: go0.4 version", "go0.4 test", "== local: local version", "local test", "go-versions: all passed")
}
