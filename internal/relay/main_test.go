package relay_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The tests mostly wait for timeouts. The command line can override this.
	flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}
