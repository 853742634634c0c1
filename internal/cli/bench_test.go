//go:build unix

package cli_test

import (
	"net"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestBenchScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/bench",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport":  freePort,
			"listening": listening,
			"status":    status,
			"signal":    signal,
		},
	})
}

// listening ADDRESS waits until connections to ADDRESS are accepted.
func listening(ts *testscript.TestScript, _ bool, args []string) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-poll.C {
		if c, err := net.Dial("tcp", args[0]); err == nil {
			c.Close()
			return
		}
	}
	ts.Fatalf("no connection to %s", args[0])
}
