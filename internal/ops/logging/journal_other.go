//go:build !unix

package logging

import "io"

// isJournal is false where there is no systemd.
func isJournal(io.Writer) bool { return false }
