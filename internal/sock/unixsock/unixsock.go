// Package unixsock makes the sockets on which the networks of this folder accept
// connections by a unix socket.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long a server that has the socket already may take to accept a
// connection.
const patience = time.Second

var attempts atomic.Uint64

// Listen listens at a path. The file has the permissions of mode from the beginning.
//
// A file that a process has left there, which has ended, is replaced. If a process
// listens there, or if there is something else, that is an error. The socket is made under
// another name and renamed, so that there is no moment without one. Of several processes
// that do this at once, one gets the path, and the others an error.
//
// Closing the listener leaves the file; remove removes it, unless it is another one by
// now.
func Listen(path string, mode fs.FileMode) (_ *net.UnixListener, remove func(), err error) {
	defer lock(filepath.Dir(path))()
	if err := makeWay(path); err != nil {
		return nil, nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	// A socket's path is short, so this is short, too.
	temporary := path + "." + strconv.FormatUint(uint64(os.Getpid()), 36) + strconv.FormatUint(attempts.Add(1), 36)
	if len(temporary) > maxPath {
		temporary = path // without the advantages
		os.Remove(path)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { restrict(fd, mode) })
	}}
	inner, err := lc.Listen(context.Background(), "unix", temporary)
	if err != nil {
		return nil, nil, err
	}
	ln := inner.(*net.UnixListener)
	ln.SetUnlinkOnClose(false)
	bound, err := publish(temporary, path, mode)
	if err != nil {
		ln.Close()
		os.Remove(temporary)
		return nil, nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	return ln, func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(bound, now) {
			os.Remove(path)
		}
	}, nil
}

// maxPath is the length of the longest path of a socket, in bytes, on any system.
const maxPath = 103

// publish gives a socket its permissions and its name.
func publish(temporary, path string, mode fs.FileMode) (bound fs.FileInfo, err error) {
	if err := os.Chmod(temporary, mode); err != nil {
		return nil, err
	}
	if temporary != path {
		if err := os.Rename(temporary, path); err != nil {
			return nil, err
		}
	}
	return os.Lstat(path)
}

// makeWay returns an error if a socket can't be put at path.
func makeWay(path string) error {
	there, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case there.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that isn't a socket: move it away, or choose another path")
	}
	conn, err := net.DialTimeout("unix", path, patience)
	if err == nil {
		conn.Close()
	}
	if err == nil || !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return errors.New("another process listens there: stop it, or choose another path")
	}
	return nil
}
