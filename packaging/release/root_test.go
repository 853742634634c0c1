package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestInstall installs the .deb as its users do, and upgrades and removes it:
// testdata/install.sh has the steps. What it changes is in a copy of this machine's files,
// which is thrown away, with a network of its own. HOLDFAST_ROOT is the folder of another
// system to do it in, such as the smallest Debian: "make install-test" does that.
func TestInstall(t *testing.T) {
	t.Parallel()
	holdfast := builtHoldfast(t)
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

// builtHoldfast is the balancer as packages and images have it.
// HOLDFAST_RELEASE_BINARY is one that is there already.
func builtHoldfast(t *testing.T) string {
	t.Helper()
	building.Do(func() {
		dir, err := os.MkdirTemp("", "holdfast-packaging")
		if err != nil {
			t.Fatal(err)
		}
		holdfast = filepath.Join(dir, "holdfast")
		if built := os.Getenv("HOLDFAST_RELEASE_BINARY"); built != "" {
			err = exec.Command("cp", built, holdfast).Run() // it may have another name
		} else {
			r := newRelease(t, "v1.2.3")
			err = r.goCommand([]string{"build", "-tags=nodemo", "-ldflags=-s -w", "-o", holdfast, "./cmd/holdfast"}, "CGO_ENABLED=0")
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return holdfast
}

var (
	building sync.Once
	holdfast string
)

func TestMain(m *testing.M) {
	status := m.Run()
	if holdfast != "" {
		os.RemoveAll(filepath.Dir(holdfast))
	}
	os.Exit(status)
}

func readScript(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
