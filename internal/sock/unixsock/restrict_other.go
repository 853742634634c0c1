//go:build !linux

package unixsock

import "io/fs"

// restrict does nothing: for a moment the file has the permissions of umask, under a name
// that nobody knows.
func restrict(uintptr, fs.FileMode) {}
