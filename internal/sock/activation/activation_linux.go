package activation

import (
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// FromEnvironment takes over the sockets that the variables LISTEN_PID, LISTEN_FDS and
// LISTEN_FDNAMES tell of, and removes these variables. It is called once. It returns nil
// if there are none, and an error if one isn't a listening stream socket.
func FromEnvironment() (*Sockets, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil
	}
	s := &Sockets{}
	for _, f := range files {
		if !listening(f) {
			return nil, fmt.Errorf("systemd gave a descriptor %q that isn't a listening stream socket: the socket unit needs ListenStream= and Accept=no", f.Name())
		}
		ln, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("systemd gave a socket %q that can't be used: %w", f.Name(), err)
		}
		at := ln.Addr()
		ln.Close()
		if path, ok := at.(*net.UnixAddr); ok {
			s.add(f, f.Name(), "unix:"+path.Name, transport.AddrPort(nil))
			continue
		}
		ip := transport.AddrPort(at)
		s.add(f, f.Name(), ip.String(), ip)
	}
	return s, nil
}

func listening(f *os.File) (ok bool) {
	c, err := f.SyscallConn() // Fd would make the socket block
	if err != nil {
		return false
	}
	c.Control(func(fd uintptr) {
		kind, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		accepts, err2 := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		ok = err == nil && err2 == nil && kind == unix.SOCK_STREAM && accepts != 0
	})
	return ok
}
