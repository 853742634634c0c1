//go:build unix

package acme

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The tests mostly wait. The command line can override this.
	flag.Set("test.parallel", "8")
	// certmagic's goroutine for a lock sees within 5 s that it was released.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}
