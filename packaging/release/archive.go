package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// entry is a file of an archive.
type entry struct {
	name string
	from string
	mode fs.FileMode
}

// archive writes the archive of a target, with one folder in it, and the list of what is
// in its binary.
func (r *release) archive(t target, binary string, x *extras) error {
	r.log("archive for %s", t)
	name := "holdfast_" + r.plainVersion() + "_" + t.String()
	entries := []entry{
		{filepath.Base(binary), binary, 0o755},
		{"README.md", filepath.Join(r.root, "README.md"), 0o644},
		{"LICENSE", filepath.Join(r.root, "LICENSE"), 0o644},
		{"holdfast.yaml", r.file("holdfast.yaml"), 0o644},
	}
	if t.os == "linux" {
		entries = append(entries, entry{"systemd/holdfast.service", r.file("holdfast.service"), 0o644}, entry{"systemd/holdfast.socket", r.file("holdfast.socket"), 0o644},
			entry{"systemd/sysusers.d/holdfast.conf", r.file("sysusers.conf"), 0o644})
	}
	if t.os != "windows" {
		for _, page := range x.man {
			entries = append(entries, entry{"man/" + filepath.Base(page), page, 0o644})
		}
		for shell, file := range x.completions {
			entries = append(entries, entry{"completions/" + completionFile(shell), file, 0o644})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	write, ending := writeTar, ".tar.gz"
	if t.os == "windows" {
		write, ending = writeZip, ".zip"
	}
	var b bytes.Buffer
	if err := write(&b, name, entries, r.time); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.out, name+ending), b.Bytes(), 0o644); err != nil {
		return err
	}
	return r.sbom(binary, filepath.Join(r.out, name+".cdx.json"))
}

// completionFile is the name by which a shell finds the completion.
func completionFile(shell string) string {
	switch shell {
	case "zsh":
		return "_holdfast"
	case "fish":
		return "holdfast.fish"
	}
	return "holdfast"
}

func writeTar(w io.Writer, folder string, entries []entry, at time.Time) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, e := range entries {
		data, err := os.ReadFile(e.from)
		if err != nil {
			return err
		}
		// Ids of 0 and no names, whoever makes it.
		if err := t.WriteHeader(&tar.Header{Name: folder + "/" + e.name, Mode: int64(e.mode), Size: int64(len(data)), ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

func writeZip(w io.Writer, folder string, entries []entry, at time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		data, err := os.ReadFile(e.from)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: folder + "/" + e.name, Method: zip.Deflate, Modified: at}
		h.SetMode(e.mode)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	return z.Close()
}
