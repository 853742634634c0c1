//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package statefile

import "os"

// lockFile can't lock here.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// syncFolder does nothing: a rename is as lasting as it can be.
func syncFolder(string) error { return nil }
