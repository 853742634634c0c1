//go:build unix

package top

import (
	"os"

	"golang.org/x/sys/unix"
)

// canSuspend reports whether the parent process is of the same session. If it isn't, as
// with "ssh -t host holdfast top", there is no job control: the kernel ignores SIGTSTP
// (POSIX, orphaned process groups), and nobody would send SIGCONT, for which bubbletea
// waits.
func canSuspend() bool {
	own, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	parent, err := unix.Getsid(os.Getppid())
	return err == nil && own == parent
}
