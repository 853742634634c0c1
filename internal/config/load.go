package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// maxSize bounds a configuration file, in bytes.
const maxSize = 1 << 20

// Load reads and checks the file at path. The error is an Errors.
func Load(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, Errors{{File: path, Msg: reason(err)}}
	}
	return Parse(path, data)
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

// reason says what kept a file from being read, without the path, which
// Error.File has.
func reason(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file"
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return "cannot read it: " + err.Error()
}

// Parse checks the text of a configuration file. name stands in its errors.
// The error is an Errors with every mistake found; then there is no Config.
func Parse(name string, data []byte) (*Config, error) {
	root, err := parseYAML(name, data)
	if err != nil {
		return nil, Errors{*err}
	}
	var r report
	return r.finish(readFile(&r, name, root))
}

// Quick is the configuration for a command line without a file: one pool
// "default" of backends, served on all of listen. Its errors name the flag.
func Quick(listen, backends []string) (*Config, error) {
	var r report
	d := newDraft(place{})
	for _, s := range listen {
		at := place{file: "--listen " + s}
		d.listeners = append(d.listeners, listenerDraft{at: at, address: r.address(s, at, listenAddress)})
	}
	pool := newPoolDraft(located[string]{value: "default", ok: true})
	for _, s := range backends {
		address := r.address(s, place{file: "--backend " + s}, backendAddress)
		pool.backends = append(pool.backends, backendDraft{address: address, weight: DefaultWeight})
	}
	d.pools = []poolDraft{pool}
	if len(listen) == 0 {
		r.fail(place{file: "--listen"}, "give at least one address to listen on, such as --listen :8080")
	}
	if len(backends) == 0 {
		r.fail(place{file: "--backend"}, "give at least one address, such as --backend 127.0.0.1:3000")
	}
	return r.finish(d)
}

// finish makes a draft a Config, unless mistakes were found.
func (r *report) finish(d *draft) (*Config, error) {
	c := r.check(d)
	if len(r.errs) > 0 {
		return nil, Errors(inFileOrder(r.errs))
	}
	c.Warnings = inFileOrder(r.warnings)
	return c, nil
}
