package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

const (
	maxFile = 8 << 20
	// A file that was written less than this before it was read may be written
	// again without a different time or size.
	racy = 2 * time.Second
)

// contents is what was read of a file.
type contents struct {
	info fs.FileInfo // nil if it must be read again
	sum  [sha256.Size]byte
}

// read reads a file.
func (c *contents) read(part Part, path string, now time.Time) ([]byte, *FileError) {
	c.info = nil
	fail := func(err error) ([]byte, *FileError) {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err // without the path
		}
		bad := at(part, path, 0, "the file can't be read: %v", err)
		bad.Err = err
		return nil, bad
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() { // opening a pipe could wait forever
		return nil, at(part, path, 0, "this is no regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return fail(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fail(err)
	}
	if len(text) > maxFile {
		return nil, at(part, path, 0, "the file has more than %d MiB", maxFile>>20)
	}
	if now.Sub(info.ModTime()) >= racy {
		c.info = info
	}
	c.sum = sha256.Sum256(text)
	return text, nil
}

// unchanged reports whether the file is the one that was read, as far as that is
// visible without reading it. It follows symbolic links, by which Kubernetes replaces
// files.
func (c *contents) unchanged(path string) bool {
	if c.info == nil {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, c.info) && info.ModTime().Equal(c.info.ModTime()) && info.Size() == c.info.Size()
}

// file is something that is read from one or two files, and replaced when they change.
// The Watcher's mutex guards it.
type file struct {
	parts []filePart
	used  [][sha256.Size]byte // of the contents that are in use; nil before
	// parse makes use of new contents. An error leaves what is in use.
	parse func(texts [][]byte, now time.Time) *FileError

	bad    *FileError // of the last look; nil if the files are good
	looked int        // how often in a row that has failed
	logged string     // the error that was logged last; "" once the files are good again

	// problem is the text of bad once it has lasted, for the status.
	problem atomic.Pointer[string]
}

type filePart struct {
	contents
	part Part
	path string
	// inMemory: there is no file, and text is what would be in it.
	inMemory bool
	text     string
}

// get returns what is in the file.
func (p *filePart) get(now time.Time) ([]byte, *FileError) {
	if !p.inMemory {
		return p.read(p.part, p.path, now)
	}
	p.sum = sha256.Sum256([]byte(p.text))
	return []byte(p.text), nil
}

func newFile(parts ...filePart) file { return file{parts: parts} }

// look reads the files if they have changed, and uses them if they are good. It
// reports whether there is something new to use. After an error the files are read
// again at the next look: a pair may be half written.
func (f *file) look(now time.Time) (changed bool, bad *FileError) {
	if f.bad == nil && f.used != nil && f.unchanged() {
		return false, nil
	}
	changed, f.bad = f.read(now)
	if f.bad == nil {
		f.looked = 0
		f.problem.Store(nil)
		return changed, nil
	}
	f.looked++
	for i := range f.parts {
		f.parts[i].info = nil
	}
	// What is wrong at two looks is no pair that is just being replaced, and one whose
	// time is over is whole.
	if f.looked > 1 || f.used == nil || f.bad.Untimely {
		f.problem.Store(&f.bad.Text)
	}
	return false, f.bad
}

func (f *file) unchanged() bool {
	for i := range f.parts {
		if p := &f.parts[i]; !p.inMemory && !p.unchanged(p.path) {
			return false
		}
	}
	return true
}

func (f *file) read(now time.Time) (changed bool, bad *FileError) {
	texts, sums := make([][]byte, len(f.parts)), make([][sha256.Size]byte, len(f.parts))
	same := f.used != nil
	for i := range f.parts {
		p := &f.parts[i]
		if texts[i], bad = p.get(now); bad != nil {
			return false, bad
		}
		sums[i] = p.sum
		same = same && sums[i] == f.used[i]
	}
	if same {
		return false, nil // also if it has expired since: there is nothing better
	}
	if bad = f.parse(texts, now); bad != nil {
		return false, bad
	}
	f.used = sums
	return true, nil
}

// check is the error of the first look.
func (f *file) check(now time.Time) *FileError {
	_, bad := f.look(now)
	return bad
}

// pair is a certificate and its key.
type pair struct {
	Pair
	file
	current atomic.Pointer[tls.Certificate]
}

// newPair makes a pair. Unless untimely is false, the first certificate may be one that
// isn't valid now.
func newPair(p Pair, untimely bool) *pair {
	r := &pair{Pair: p, file: newFile(filePart{part: Cert, path: p.Cert, inMemory: p.InMemory, text: p.CertText})}
	if p.Key != "" {
		r.parts = append(r.parts, filePart{part: Key, path: p.Key, inMemory: p.InMemory, text: p.KeyText})
	}
	r.parse = func(texts [][]byte, now time.Time) *FileError {
		var key []byte
		if p.Key != "" {
			key = texts[1]
		}
		c, bad := parse(p, texts[0], key)
		if bad == nil && (r.used != nil || !untimely) {
			bad = checkTime(p, c.Leaf, now)
		}
		if bad == nil {
			r.current.Store(c)
		}
		return bad
	}
	return r
}
