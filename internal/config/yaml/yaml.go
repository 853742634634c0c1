// Package yaml reads a configuration file into the model of package config. It
// reports all errors of a file at once, each with its line and column, and
// proposes the word that was probably meant. Which keys there are, what they may
// be and how they go together is package config's business: only the form of the
// file is known here.
package yaml

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// maxSize bounds a configuration file, in bytes.
const maxSize = 1 << 20

// Load reads and checks the file at path. The error is a config.Errors.
func Load(path string) (*config.Config, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse checks the text of a configuration file. name is its name in errors;
// files named in it are relative to its directory. The error is a config.Errors
// with every error found; then there is no Config.
func Parse(name string, data []byte) (*config.Config, error) {
	c, _, err := parse(name, data)
	return c, err
}

func parse(name string, data []byte) (*config.Config, *File, error) {
	c := config.Defaults()
	f, err := Read(name, data, "a mapping with listeners and pools", &c)
	if err != nil {
		return nil, nil, err
	}
	config.Check(&c, f, &f.Report)
	if errs := f.Report.Errors(); len(errs) > 0 {
		return nil, nil, errs
	}
	c.Warnings = f.Report.Warnings()
	return &c, f, nil
}

// ReadFile reads a file that isn't too large. The error is a config.Errors.
func ReadFile(path string) ([]byte, error) {
	data, err := read(path)
	if err != nil {
		return nil, config.Errors{{Place: config.Place{File: path}, Msg: reason(err)}}
	}
	return data, nil
}

// read stops soon after maxSize, so that a device or pipe without an end
// doesn't fill the memory.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

// reason says why a file could not be read, without the path, which the error
// has already.
func reason(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file"
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return "cannot read it: " + err.Error()
}
