//go:build unix

package bench

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// checkDescriptors raises RLIMIT_NOFILE as far as it may, and says what to do
// when that is not enough.
func checkDescriptors(need int) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return nil // then the connections tell
	}
	want := uint64(min(need, math.MaxInt32))
	if uint64(l.Cur) >= want {
		return nil
	}
	raised := l
	raised.Cur = raised.Max
	if uint64(l.Max) >= want && unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return nil
	}
	return fmt.Errorf("%d descriptors are needed and RLIMIT_NOFILE allows %d: raise it (ulimit -n %d), or ask for fewer --sessions", need, uint64(l.Max), need)
}
