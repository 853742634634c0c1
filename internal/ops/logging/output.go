package logging

import (
	"io"
	"log/slog"
	"os"
	"sync/atomic"
)

// File is a file for log lines, which are appended.
type File struct{ f *os.File }

// OpenFile opens a file, and makes it if it doesn't exist. Its owner may read and write
// it, its group may read it. The caller gives it to Log.Use or closes it.
func OpenFile(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	return &File{f}, nil
}

// Close closes a file that wasn't given to Log.Use.
func (f *File) Close() error { return f.f.Close() }

// output is where batches of lines go. It changes between two of them, so that nobody
// waits for a destination that blocks.
type output struct {
	std     io.Writer
	journal bool // std is the journal of systemd

	file *File                 // in use, nil for std; only the queue's goroutine uses it
	next atomic.Pointer[*File] // to be used from the next batch on; nil means no change
}

// use makes f the destination; nil is std.
func (o *output) use(f *File) {
	if before := o.next.Swap(&f); before != nil {
		(*before).close()
	}
}

func (f *File) close() {
	if f != nil {
		f.f.Close()
	}
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.change()
	if o.file != nil {
		return o.file.f.Write(p)
	}
	return o.std.Write(p)
}

func (o *output) change() {
	if next := o.next.Swap(nil); next != nil {
		o.file.close()
		o.file = *next
	}
}

// end closes the file, if there is one. Nothing is written any more.
func (o *output) end() {
	o.change()
	o.file.close()
}

// priority is what the journal reads of the beginning of a line (sd-daemon(3)).
func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
