//go:build unix

package kits

import (
	"os/exec"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestSocketIOPackage runs the tests of the package itself, in which a test plays the
// balancer.
func TestSocketIOPackage(t *testing.T) {
	t.Parallel()
	installed(t)
	cmd := exec.Command("npm", "test")
	cmd.Dir = kit.ModulePath(socketIO)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("npm test in %s: %v\n%s", socketIO, err, out)
	}
}
