package client

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Default addresses, see Find.
const (
	defaultSocket  = "/run/holdfast/admin.sock"
	defaultAddress = "127.0.0.1:9900"
)

// tried lists where the socket of a balancer on this machine may be.
func tried() (sockets []string) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		sockets = append(sockets, filepath.Join(dir, "holdfast", "admin.sock"))
	}
	return append(sockets, defaultSocket)
}

// Find returns the admin address of the balancer on this machine: HOLDFAST_ADMIN if that
// is set, else the first socket of $XDG_RUNTIME_DIR/holdfast/admin.sock and
// /run/holdfast/admin.sock at which a process listens, else 127.0.0.1:9900. A socket that
// the caller may not use counts: the error of the connection then says what to do.
func Find() string {
	if address := os.Getenv("HOLDFAST_ADMIN"); address != "" {
		return address
	}
	for _, path := range tried() {
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			conn.Close()
		}
		if err == nil || errors.Is(err, fs.ErrPermission) {
			return path
		}
	}
	return defaultAddress
}
