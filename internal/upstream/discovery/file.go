package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	maxFileSize = 4 << 20
	// A file that was written less than this before it was read may be written
	// again without a different time or size.
	racy = 2 * time.Second
)

// ReadFile reads a list of backends from a JSON file, at most 4 MiB and 10,000
// backends:
//
//	[{"name": "ws1", "address": "10.0.0.1:3000", "weight": 2, "max_sessions": 5000}]
//
// or the same list as {"backends": [...]}. Only the address is required. The name
// defaults to the address, the weight to 1 (from 1 to 256), and max_sessions to 0,
// which means unlimited. Names and addresses must be unique, and there must be at
// least one backend.
//
// The result is sorted by name. Errors begin with file:line:col, in characters from
// 1; errors of the file system begin with the path.
func ReadFile(path string) ([]Member, error) {
	members, _, err := readFile(path)
	return members, err
}

// readFile also returns the file's info when it was read, nil if it wasn't.
func readFile(path string) ([]Member, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, withoutCall(path, err)
	}
	if !info.Mode().IsRegular() { // opening a pipe could wait forever
		return nil, info, fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, withoutCall(path, err)
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, nil, withoutCall(path, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, nil, withoutCall(path, err)
	}
	if len(text) > maxFileSize {
		return nil, info, fmt.Errorf("%s: larger than %d MiB", path, maxFileSize>>20)
	}
	members, err := parse(path, text)
	return members, info, err
}

// withoutCall leaves the system call out of an error; the path says enough.
func withoutCall(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// fileWatch keeps one feed up to date from a file. It polls: inotify doesn't see
// through the symbolic links by which Kubernetes replaces files, nor works over NFS.
type fileWatch struct {
	feed *feed
	poll time.Duration

	// The result of reading the file last.
	seen    fs.FileInfo // of the file, not of a link to it; nil: read it again
	members []Member
	err     error

	looked bool // at least once
	broken bool // the last time
}

func (f *fileWatch) try(ctx context.Context) time.Duration {
	f.look()
	switch {
	case f.err == nil:
		f.feed.update(ctx, f.members)
	case f.broken || !f.looked:
		f.feed.fail(ctx, f.err)
	default:
		// It may be half written, or about to be replaced: it is an error only
		// if it is still so the next time.
	}
	f.looked, f.broken = true, f.err != nil
	return f.poll
}

// look reads the file unless it is unchanged.
func (f *fileWatch) look() {
	path := f.feed.source.file
	if info, err := os.Stat(path); err == nil && f.seen != nil && same(info, f.seen) {
		return
	}
	f.members, f.seen, f.err = readFile(path)
	if f.seen != nil && time.Since(f.seen.ModTime()) < racy {
		f.seen = nil
	}
}

// same reports whether a file is unchanged, as far as that is visible without reading
// it.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
