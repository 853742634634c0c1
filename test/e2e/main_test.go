//go:build unix

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleEnv makes this test binary another process of a test, see TestMain.
const roleEnv = "HOLDFAST_E2E_ROLE"

// holdfast is the path of the built binary.
var holdfast string

// patience bounds every wait for something that is expected to come soon. It
// is long since the machine may be busy; no test waits for it to pass.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	// Thousands of goroutines with little on the heap: with the default, most
	// of the time would go into looking through their stacks.
	debug.SetGCPercent(800)
	switch os.Getenv(roleEnv) {
	case backendRole:
		os.Exit(serveBackend())
	case stormRole:
		os.Exit(storm())
	case sheltered:
		os.Exit(serveSheltered())
	case kitRole:
		os.Exit(serveKit())
	}
	dir, err := os.MkdirTemp("", "holdfast-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	holdfast = filepath.Join(dir, "holdfast")
	if err := build(holdfast, "cmd/holdfast"); err != nil {
		fmt.Fprintln(os.Stderr, "building holdfast:", err)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// build builds a program of this module, with the race detector where that is
// asked for.
func build(path, program string) error {
	args := []string{"build", "-o", path}
	if raceBuild() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "github.com/holdfast-ws/holdfast/"+program)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// raceBuild tells that the binary has the race detector in it, which is slower
// and takes several times the memory.
func raceBuild() bool { return os.Getenv("HOLDFAST_E2E_RACE") != "" }

// eachEngine runs test as a subtest for each engine there is on this system.
func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}
