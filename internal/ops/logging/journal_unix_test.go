//go:build unix

package logging

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestIsJournal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	info, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", s.Dev, s.Ino))
	if !isJournal(w) {
		t.Error("the journal isn't recognised")
	}
	if isJournal(os.Stderr) || isJournal(new(bytes.Buffer)) {
		t.Error("something else is taken for the journal")
	}
	t.Setenv("JOURNAL_STREAM", "")
	if isJournal(w) {
		t.Error("without JOURNAL_STREAM")
	}
}
