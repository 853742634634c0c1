// Package statefile keeps a small state of the process in a file, which is replaced as a
// whole, so that a crash leaves the old content or the new one. Only one process uses a file
// at a time.
package statefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"
)

// maxSize bounds what is read, in bytes.
const maxSize = 16 << 20

// ErrInUse says that another process uses the file.
var ErrInUse = errors.New("another balancer uses it")

// File is an open state file.
type File struct {
	path    string
	version int
	lock    *os.File
	bad     error // why what is there can't be used
}

// envelope is the content of a file.
type envelope struct {
	Version int             `json:"version"`
	State   json.RawMessage `json:"state"`
}

// Checker is a state that can be wrong though it can be decoded.
type Checker interface{ Check() error }

// Open opens the file at a path, whose folder it makes if there is none, and decodes its
// state into what state points to, unless the file doesn't exist. The caller must Close it.
//
// If the file is broken, or of a later version than the given one, state is unchanged, and
// the caller calls SetAside before it saves. An error means that there can be no such file;
// it wraps ErrInUse if that is the reason.
func Open(path string, version int, state any) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	f := &File{path: path, version: version, lock: lock}
	f.bad = read(path, version, state)
	var unreadable *fs.PathError
	if errors.As(f.bad, &unreadable) {
		f.Close()
		return nil, f.bad
	}
	return f, nil
}

// SetAside renames a file that can't be used, so that it is kept, and says so. Of one that
// can it returns "". After an error the file must not be saved.
func (f *File) SetAside() (aside string, err error) {
	if f.bad == nil {
		return "", nil
	}
	kept := f.path + "." + time.Now().UTC().Format("20060102T150405.000") + ".kept"
	if err := os.Rename(f.path, kept); err != nil {
		return "", fmt.Errorf("%s: %w, and it can't be renamed: %w", f.path, f.bad, err)
	}
	aside = fmt.Sprintf("%s: %v; it is now %s", f.path, f.bad, kept)
	f.bad = nil
	return aside, nil
}

// read decodes the state of a file. Its error is an *fs.PathError if the file can't be
// read.
func read(path string, version int, state any) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return err
	}
	if len(content) > maxSize {
		return fmt.Errorf("the file has more than %d MiB", maxSize>>20)
	}
	var e envelope
	if err := json.Unmarshal(content, &e); err != nil {
		return fmt.Errorf("the file is broken: %w", err)
	}
	switch {
	case e.Version > version:
		return fmt.Errorf("the file is of version %d, from a later holdfast; this one knows version %d", e.Version, version)
	case e.Version < 1 || e.State == nil:
		return errors.New("the file is broken: it has no version, or no state")
	}
	fresh := reflect.New(reflect.TypeOf(state).Elem())
	in := json.NewDecoder(bytes.NewReader(e.State))
	in.DisallowUnknownFields()
	if err := in.Decode(fresh.Interface()); err != nil {
		return fmt.Errorf("the file is broken: %w", err)
	}
	if s, ok := fresh.Interface().(Checker); ok {
		if err := s.Check(); err != nil {
			return fmt.Errorf("the file is broken: %w", err)
		}
	}
	reflect.ValueOf(state).Elem().Set(fresh.Elem())
	return nil
}

// Path is the path of the file.
func (f *File) Path() string { return f.path }

// Save replaces the content. When it returns nil, the new one survives a crash of the
// machine.
func (f *File) Save(state any) error {
	inner, err := json.Marshal(state)
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(envelope{f.version, inner}, "", "  ")
	if err != nil {
		return err
	}
	temporary := f.path + ".new" // nobody else writes it, since the file is locked
	if err := write(temporary, append(content, '\n')); err != nil {
		os.Remove(temporary)
		return err
	}
	if err := os.Rename(temporary, f.path); err != nil {
		os.Remove(temporary)
		return err
	}
	return syncFolder(filepath.Dir(f.path))
}

func write(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

// Close lets others use the file. Save must not be called any more.
func (f *File) Close() error { return f.lock.Close() }
