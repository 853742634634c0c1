//go:build unix

package admission

import (
	"math"
	"syscall"
)

// descriptorLimit is the soft limit, which Go's runtime raised to the hard one
// when the process started.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // what most systems give a process
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
