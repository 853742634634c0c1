//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package unixsock

import (
	"os"
	"syscall"
	"time"
)

// lock keeps other processes from taking over a path in a folder meanwhile. It is the
// folder that is locked, so that no file is left behind. Whoever may read the folder may
// lock it, and one that never unlocks it must not stop others from starting: after a while
// lock goes on without.
func lock(folder string) (unlock func()) {
	f, err := os.Open(folder)
	if err != nil {
		return func() {} // it can't be read, or isn't there: what comes next says more
	}
	for end := time.Now().Add(2 * patience); ; time.Sleep(patience / 100) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR || time.Now().After(end) {
			break // locked, or the file system has no locks
		}
	}
	return func() { f.Close() }
}
