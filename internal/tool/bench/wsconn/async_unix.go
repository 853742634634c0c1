//go:build unix

package wsconn

import "golang.org/x/sys/unix"

// writeOnce writes what the socket accepts without blocking.
func (a *asyncConn) writeOnce(fd uintptr) bool {
	for {
		n, err := unix.Write(int(fd), a.p)
		switch err {
		case nil:
			a.n = n
		case unix.EINTR:
			continue
		case unix.EAGAIN:
		default:
			a.failed = err
		}
		return true
	}
}
