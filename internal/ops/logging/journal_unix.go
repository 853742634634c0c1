//go:build unix

package logging

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// isJournal reports whether w is a connection to the journal of systemd: then
// JOURNAL_STREAM has its device and inode (systemd.exec(5)).
func isJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	stream := os.Getenv("JOURNAL_STREAM")
	if !ok || stream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}
