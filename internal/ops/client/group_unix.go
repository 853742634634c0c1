//go:build unix

package client

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// groupOf names the group of a file.
func groupOf(path string) string {
	info, err := os.Stat(path)
	if err != nil { // the folder may not be read: it is its group then
		info, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return "of the socket"
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "of the socket"
	}
	id := strconv.FormatUint(uint64(st.Gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
