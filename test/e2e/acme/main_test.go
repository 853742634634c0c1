//go:build unix

package acme

import (
	"flag"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

func TestMain(m *testing.M) {
	// The tests mostly wait. The command line can override this.
	flag.Set("test.parallel", "8")
	kit.Main(m)
}
