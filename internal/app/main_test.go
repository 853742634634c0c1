package app_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// A folder that isn't there: no admin socket, unless a test says where.
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(os.TempDir(), "holdfast-none", "run"))
	os.Unsetenv("RUNTIME_DIRECTORY")
	// certmagic's goroutine for a lock sees within 5 s that it was released.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}
