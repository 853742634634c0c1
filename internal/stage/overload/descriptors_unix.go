//go:build unix

package overload

import (
	"math"
	"syscall"
)

// descriptorLimit is the soft limit, which the Go runtime raises to the hard one
// at startup.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // the usual default
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
