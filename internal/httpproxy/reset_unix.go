//go:build unix

package httpproxy

import (
	"io"
	"net"
	"syscall"
)

// waitForReset waits until a connection whose peer has closed its half is reset
// or closed, or its read deadline has passed, and returns why it waits no more.
func waitForReset(conn net.Conn) error {
	sys, ok := socketOf(conn).(syscall.Conn)
	if !ok {
		return io.EOF
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return err
	}
	var reset error
	err = raw.Read(func(fd uintptr) (done bool) {
		code, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		switch {
		case err != nil:
			reset = err
		case code != 0:
			reset = syscall.Errno(code)
		default:
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	return reset
}
