package bench

import (
	"time"

	"golang.org/x/sys/windows"
)

// processCPU returns the CPU time used by this process, in user and kernel mode.
func processCPU() time.Duration {
	var created, exited, kernel, user windows.Filetime
	if windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user) != nil {
		return 0
	}
	ticks := func(f windows.Filetime) int64 { return int64(f.HighDateTime)<<32 | int64(f.LowDateTime) }
	return 100 * time.Duration(ticks(kernel)+ticks(user))
}
