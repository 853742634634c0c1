//go:build unix

package bench

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// checkDescriptors raises RLIMIT_NOFILE to need. If that isn't permitted, it returns
// an error that says what to do.
func checkDescriptors(need int) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return nil // opening connections will fail if it is too low
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
	return fmt.Errorf("%d file descriptors are needed, but RLIMIT_NOFILE allows only %d: raise it (ulimit -n %d), or use fewer --sessions", need, uint64(l.Max), need)
}
