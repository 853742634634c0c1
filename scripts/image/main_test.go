package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// read returns the files of a tar.
func read(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s has the time %v", h.Name, h.ModTime)
		}
	}
}

// follow reads the blob of a descriptor, whose digest and size must be right.
func follow(t *testing.T, files map[string][]byte, d descriptor, into any) []byte {
	t.Helper()
	data, ok := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
	if !ok || digest(data) != d.Digest || len(data) != d.Size {
		t.Fatalf("the blob of %+v is missing or another one", d)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	var args []string
	for arch, text := range map[string]string{"amd64": "one", "arm64": "another"} {
		path := filepath.Join(dir, arch, "holdfast")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		args = append(args, arch+"="+path)
	}
	out := filepath.Join(dir, "image.tar")
	added := filepath.Join(dir, "added")
	if err := os.WriteFile(added, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{version: "1.2.3", cmd: []string{"run", "-v"}, add: []addition{{"/etc/a/b", added}}, writable: []string{"/run/a"}}
	if err := run(out, o, args); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	args[0], args[1] = args[1], args[0]
	if err := run(out, o, args); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(out); err != nil || !bytes.Equal(data, again) {
		t.Error("the same binaries give another image")
	}

	type list struct{ Manifests []descriptor }
	files := read(t, bytes.NewReader(data))
	var top, index list
	if err := json.Unmarshal(files["index.json"], &top); err != nil || len(top.Manifests) != 1 ||
		top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.2.3" {
		t.Fatalf("index.json is %s", files["index.json"])
	}
	follow(t, files, top.Manifests[0], &index)
	for i, arch := range []string{"amd64", "arm64"} {
		if p := index.Manifests[i].Platform; p == nil || p.Architecture != arch || p.OS != "linux" {
			t.Errorf("image %d is for %+v, want %s", i, p, arch)
		}
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		follow(t, files, index.Manifests[i], &manifest)
		var config struct {
			Architecture string
			Config       struct {
				User       string
				Entrypoint []string
				Cmd        []string
			}
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			}
		}
		follow(t, files, manifest.Config, &config)
		if config.Architecture != arch || config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/holdfast" || len(config.Config.Cmd) != 2 {
			t.Errorf("%s: configuration %+v", arch, config)
		}
		z, err := gzip.NewReader(bytes.NewReader(follow(t, files, manifest.Layers[0], nil)))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(z)
		if err != nil || digest(raw) != config.RootFS.DiffIDs[0] {
			t.Errorf("%s: the layer isn't what the configuration says: %v", arch, err)
		}
		want := map[string]string{"amd64": "one", "arm64": "another"}[arch]
		in := read(t, bytes.NewReader(raw))
		for name, text := range map[string]string{"holdfast": want, "etc/": "", "etc/a/": "", "etc/a/b": "text", "run/": "", "run/a/": ""} {
			if got, ok := in[name]; !ok || string(got) != text {
				t.Errorf("%s: %s is %q, %v; want %q", arch, name, got, ok, text)
			}
		}
		if len(in) != 6 {
			t.Errorf("%s: the image has %d entries", arch, len(in))
		}
		for tr := tar.NewReader(bytes.NewReader(raw)); ; {
			h, err := tr.Next()
			if err != nil {
				break
			}
			if mine := h.Name == "run/a/"; mine != (h.Uid == user) || mine != (h.Gid == user) {
				t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
			}
		}
	}
}

func TestBadArguments(t *testing.T) {
	if err := run(filepath.Join(t.TempDir(), "x"), options{add: []addition{{"/a", "no such file"}}}, []string{"amd64=main.go"}); err == nil {
		t.Error("a file that isn't there: no error")
	}
	for _, args := range [][]string{nil, {"holdfast"}, {"amd64=" + t.TempDir() + "/none"}} {
		if err := run(filepath.Join(t.TempDir(), "x"), options{}, args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
