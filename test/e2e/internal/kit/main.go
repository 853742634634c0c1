//go:build unix

package kit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

// RoleEnv makes a test binary another process of a test, see Role.
const RoleEnv = "HOLDFAST_E2E_ROLE"

// binaryEnv is the path of a balancer that was already built. make e2e sets it,
// so that the packages don't build one each.
const binaryEnv = "HOLDFAST_E2E_BINARY"

// Binary is the path of the balancer under test.
var Binary string

// Role is a program that a test binary is when RoleEnv has its name. Run
// returns the exit status.
type Role struct {
	Name string
	Run  func() int
}

// Main is the TestMain of every package of end-to-end tests. It builds the
// balancer, runs the tests, checks that no goroutine is left, and writes the
// figures. roles are those of the package, beside the backends of this one.
func Main(m *testing.M, roles ...Role) {
	// Thousands of goroutines with little on the heap: with the default, the
	// garbage collector would spend most of the time on their stacks.
	debug.SetGCPercent(800)
	for _, r := range append(roles, Role{backendRole, serveBackend}, Role{packageRole, servePackage}) {
		if os.Getenv(RoleEnv) == r.Name {
			os.Exit(r.Run())
		}
	}
	// A folder that isn't there: only balancers of StartHoldfast have an admin socket.
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(os.TempDir(), "holdfast-e2e-none", "run"))
	os.Unsetenv("HOLDFAST_ADMIN")
	// And only they have a folder for what is changed at run time.
	os.Setenv("STATE_DIRECTORY", filepath.Join(os.DevNull, "state"))
	remove := func() {}
	if Binary = os.Getenv(binaryEnv); Binary == "" {
		dir, err := os.MkdirTemp("", "holdfast-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		remove = func() { os.RemoveAll(dir) }
		Binary = filepath.Join(dir, "holdfast")
		if err := Build(Binary, "cmd/holdfast"); err != nil {
			fmt.Fprintln(os.Stderr, "building holdfast:", err)
			remove()
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		remove()
		if err := writeFigures(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

// Build builds a program of this module at path, with the race detector if
// RaceBuild.
func Build(path, program string) error {
	args := []string{"build", "-o", path}
	if RaceBuild() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "github.com/holdfast-ws/holdfast/"+program)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// RaceBuild reports whether the balancer under test has the race detector in
// it, which is slower and takes several times the memory.
func RaceBuild() bool { return os.Getenv("HOLDFAST_E2E_RACE") != "" }

// ModulePath returns the path of a file of this module, from its root.
func ModulePath(name string) string { return filepath.Join(root(), name) }

// root is the directory of go.mod. Tests run in their package's directory.
func root() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	panic("the tests don't run inside the module")
}
