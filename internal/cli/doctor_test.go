//go:build unix

package cli_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestDoctorScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/doctor",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport":  freePort,
			"listening": listening,
			"status":    status,
		},
	})
}
