//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"testing"
)

// builtEnv is a folder with programs that have been built before, so that not each package
// of tests links its own. make kube sets it.
const builtEnv = "HOLDFAST_LAB_BUILT"

// builds has the programs that this process has built.
var builds struct {
	mu   sync.Mutex // held while one is built
	dir  string
	done map[string]string // package, path
}

// Build builds a Go program without cgo, once for all tests of the process, and returns
// its path, for [Cluster.Image]. The package is an import path, or a path that begins
// with "." and starts at the folder of the test.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if file := builds.done[pkg]; file != "" {
		return file
	}
	file, err := build(pkg)
	if err != nil {
		t.Fatal(err)
	}
	if builds.done == nil {
		builds.done = map[string]string{}
	}
	builds.done[pkg] = file
	return file
}

func build(pkg string) (string, error) {
	name := path.Base(pkg)
	if dir := os.Getenv(builtEnv); dir != "" {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err == nil {
			return file, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "holdfast-lab-built-")
		if err != nil {
			return "", err
		}
		builds.dir = dir
	}
	file := filepath.Join(builds.dir, fmt.Sprintf("%d", len(builds.done)), name)
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, pkg)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return file, nil
}

// forgetBuilds removes what Build has built.
func forgetBuilds() error {
	if builds.dir == "" {
		return nil
	}
	return os.RemoveAll(builds.dir)
}
