// Command image packs static binaries into a container image, without Docker: an OCI
// image layout (https://github.com/opencontainers/image-spec) in a tar file, with one
// image for each architecture, which has nothing in it but the binary and what is added.
// Equal files give an equal image.
//
//	go run ./scripts/image -o image.tar -version 1.2.3 amd64=bin/amd64/holdfast arm64=bin/arm64/holdfast
//
// -add puts in more files, and -writable makes folders that belong to the image's user.
//
// skopeo copy oci-archive:image.tar docker://REGISTRY/NAME:TAG pushes it, and podman load
// or ctr images import reads it.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	out := flag.String("o", "image.tar", "file to write")
	version := flag.String("version", "", "version, for the image's labels and its name in the file")
	o := options{}
	cmd := flag.String("cmd", "", "arguments of the program if none are given, with commas between them")
	flag.Func("add", "PATH=FILE: a file in the image, readable for everyone; repeatable", func(s string) error {
		to, from, ok := strings.Cut(s, "=")
		if !ok || !strings.HasPrefix(to, "/") {
			return errors.New("want /PATH=FILE")
		}
		o.add = append(o.add, addition{to, from})
		return nil
	})
	flag.Func("writable", "a folder that the program may write to; repeatable", func(s string) error {
		if !strings.HasPrefix(s, "/") {
			return errors.New("want /PATH")
		}
		o.writable = append(o.writable, s)
		return nil
	})
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: image [-o FILE] [-version VERSION] ARCHITECTURE=BINARY...")
		flag.PrintDefaults()
	}
	flag.Parse()
	o.version = *version
	if *cmd != "" {
		o.cmd = strings.Split(*cmd, ",")
	}
	if err := run(*out, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are what is in an image beside its binary.
type options struct {
	version  string
	cmd      []string
	add      []addition
	writable []string
}

// addition is a file of the image.
type addition struct{ to, from string }

// user is the user and the group of the image. A number, so that runAsNonRoot can be
// checked.
const user = 65532

func run(out string, o options, args []string) error {
	if len(args) == 0 {
		return errors.New("no binary: write for example amd64=bin/holdfast")
	}
	binaries := map[string][]byte{}
	var name string
	for _, arg := range args {
		arch, path, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("bad argument %q: want ARCHITECTURE=BINARY", arg)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if name != "" && name != filepath.Base(path) {
			return fmt.Errorf("the binaries have different names: %s and %s", name, filepath.Base(path))
		}
		name, binaries[arch] = filepath.Base(path), data
	}
	var file bytes.Buffer
	if err := write(&file, name, o, binaries); err != nil {
		return err
	}
	return os.WriteFile(out, file.Bytes(), 0o644)
}

// descriptor is what OCI calls a content descriptor.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// layout is a tar file with an OCI image layout.
type layout struct {
	tar  *tar.Writer
	have map[string]bool
}

// write writes the layout of one image for each binary, which has the path /NAME.
func write(w io.Writer, name string, o options, binaries map[string][]byte) error {
	l := &layout{tar: tar.NewWriter(w), have: map[string]bool{}}
	if err := l.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	var architectures []string
	for arch := range binaries {
		architectures = append(architectures, arch)
	}
	slices.Sort(architectures)
	index := map[string]any{"schemaVersion": 2, "mediaType": indexType}
	var images []descriptor
	for _, arch := range architectures {
		d, err := l.image(name, o, arch, binaries[arch])
		if err != nil {
			return err
		}
		images = append(images, d)
	}
	index["manifests"] = images
	if len(images) > 1 { // readers that take one image expect one entry
		all, err := l.json(indexType, index)
		if err != nil {
			return err
		}
		if o.version != "" {
			all.Annotations = map[string]string{"org.opencontainers.image.ref.name": o.version}
		}
		index["manifests"] = []descriptor{all}
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := l.file("index.json", data); err != nil {
		return err
	}
	return l.tar.Close()
}

func (l *layout) image(name string, o options, arch string, binary []byte) (descriptor, error) {
	var raw, packed bytes.Buffer
	if err := content(&raw, name, o, binary); err != nil {
		return descriptor{}, err
	}
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(raw.Bytes())
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return descriptor{}, err
	}
	layer, err := l.blob(layerType, packed.Bytes())
	if err != nil {
		return descriptor{}, err
	}
	labels := map[string]string{
		"org.opencontainers.image.title":    name,
		"org.opencontainers.image.source":   "https://github.com/holdfast-ws/holdfast",
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	if o.version != "" {
		labels["org.opencontainers.image.version"] = o.version
	}
	settings := map[string]any{"User": fmt.Sprintf("%d:%d", user, user), "Entrypoint": []string{"/" + name}, "Labels": labels}
	if len(o.cmd) > 0 {
		settings["Cmd"] = o.cmd
	}
	config, err := l.json(configType, map[string]any{
		"architecture": arch, "os": "linux",
		"config": settings,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(raw.Bytes())}},
	})
	if err != nil {
		return descriptor{}, err
	}
	d, err := l.json(manifestType, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []descriptor{layer},
	})
	d.Platform = &platform{Architecture: arch, OS: "linux"}
	return d, err
}

// content writes the layer of an image. Times of its own would make each image another
// one, so there are none.
func content(w io.Writer, name string, o options, binary []byte) error {
	t := tar.NewWriter(w)
	folders := map[string]bool{}
	folder := func(path string, owner int) (err error) {
		path = strings.TrimPrefix(path, "/")
		for i, c := range path + "/" {
			if c != '/' || folders[path[:i]] {
				continue
			}
			folders[path[:i]] = true
			id := 0
			if i == len(path) {
				id = owner
			}
			err = errors.Join(err, t.WriteHeader(&tar.Header{Name: path[:i] + "/", Mode: 0o755, Uid: id, Gid: id, Typeflag: tar.TypeDir, Format: tar.FormatUSTAR}))
		}
		return err
	}
	file := func(path string, mode int64, data []byte) error {
		err := t.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
		if err == nil {
			_, err = t.Write(data)
		}
		return err
	}
	for _, path := range o.writable {
		if err := folder(path, user); err != nil {
			return err
		}
	}
	for _, a := range o.add {
		data, err := os.ReadFile(a.from)
		if err != nil {
			return err
		}
		if at := path.Dir(a.to); at != "/" {
			err = folder(at, 0)
		}
		if err = errors.Join(err, file(strings.TrimPrefix(a.to, "/"), 0o644, data)); err != nil {
			return err
		}
	}
	return errors.Join(file(name, 0o755, binary), t.Close())
}

func (l *layout) json(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, data)
}

func (l *layout) blob(mediaType string, data []byte) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: digest(data), Size: len(data)}
	_, sum, _ := strings.Cut(d.Digest, ":")
	if l.have[sum] {
		return d, nil
	}
	l.have[sum] = true
	return d, l.file("blobs/sha256/"+sum, data)
}

func (l *layout) file(name string, data []byte) error {
	if err := l.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := l.tar.Write(data)
	return err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
