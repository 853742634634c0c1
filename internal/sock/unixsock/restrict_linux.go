package unixsock

import (
	"io/fs"
	"syscall"
)

// restrict makes bind(2) create the file with no more permissions than these.
func restrict(fd uintptr, mode fs.FileMode) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm())) }
