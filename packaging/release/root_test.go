package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInstall installs the .deb as its users do, and upgrades and removes it:
// testdata/install.sh has the steps. What it changes is in a copy of this machine's files,
// which is thrown away, with a network of its own. HOLDFAST_ROOT is the folder of another
// system to do it in, such as the smallest Debian: "make install-test" does that.
func TestInstall(t *testing.T) {
	t.Parallel()
	holdfast := os.Getenv("HOLDFAST_E2E_BINARY")
	if holdfast == "" {
		holdfast = filepath.Join(t.TempDir(), "holdfast")
		r := newRelease(t, "v1.2.3")
		if err := r.goCommand([]string{"build", "-tags=nodemo", "-ldflags=-s -w", "-o", holdfast, "./cmd/holdfast"}, "CGO_ENABLED=0"); err != nil {
			t.Fatal(err)
		}
	}
	var debs []string
	for _, version := range []string{"1.2.3", "1.2.4"} {
		r := newRelease(t, "v"+version)
		x, err := r.extrasOf(holdfast)
		if err != nil {
			t.Fatal(err)
		}
		r.compression = "none" // it would take most of the time
		if err := r.pack("deb", "amd64", holdfast, x); err != nil {
			t.Fatal(err)
		}
		debs = append(debs, filepath.Join(r.out, "holdfast_"+version+"_amd64.deb"))
	}
	root := os.Getenv("HOLDFAST_ROOT")
	if root == "" {
		root = "/"
	}
	script, err := filepath.Abs("testdata/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", append([]string{"--map-root-user", "--map-auto", "--mount", "--pid", "--net", "--fork", "--kill-child", "bash", script, root}, debs...)...)
	if os.Getuid() == 0 {
		cmd.Args = append(cmd.Args[:1], cmd.Args[3:]...)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, step := range regexp.MustCompile(`(?m)^step (.*)$`).FindAllStringSubmatch(readScript(t, script), -1) {
		if !strings.Contains(string(out), "ok: "+strings.Trim(step[1], `"`)+"\n") {
			t.Errorf("step %s didn't run", step[1])
		}
	}
}

func readScript(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
