//go:build unix

package kits

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// The tests of kits/client are in JavaScript: with a clock of their own, with a real
// server, and in Chromium.
func TestClient(t *testing.T) {
	dir := kit.ModulePath("kits/client")
	npm, err := exec.LookPath("npm")
	if _, missing := os.Stat(filepath.Join(dir, "node_modules/typescript/package.json")); err != nil || missing != nil {
		t.Fatal("npm or the packages of kits/client are missing: run scripts/setup-tests.sh")
	}
	cmd := exec.Command(npm, "test")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHROMIUM="+kit.Chromium(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
