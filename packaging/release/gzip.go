package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
)

// gzip packs a file into one of the same name with .gz, as manual pages are installed.
func (r *release) gzip(path string) (packed string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := z.Write(data); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	packed = filepath.Join(r.work, filepath.Base(path)+".gz")
	return packed, os.WriteFile(packed, b.Bytes(), 0o644)
}
