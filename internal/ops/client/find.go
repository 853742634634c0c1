package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
// is set, else the socket that exists of $XDG_RUNTIME_DIR/holdfast/admin.sock and
// /run/holdfast/admin.sock, else 127.0.0.1:9900. It doesn't connect. A socket in a folder
// that may not be read counts: the error of the connection then says what to do.
func Find() string {
	if address := os.Getenv("HOLDFAST_ADMIN"); address != "" {
		return address
	}
	for _, path := range tried() {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrPermission) || err == nil && info.Mode()&os.ModeSocket != 0 {
			return path
		}
	}
	return defaultAddress
}
