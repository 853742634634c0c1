// Command release makes the files of a release in a folder: archives with binaries for
// each system, packages for Debian and for Red Hat's systems, a container image, lists of
// what is in the binaries (SBOM), and checksums of them all. The same source, version and
// toolchain give the same bytes.
//
//	go run -C packaging ./release -version v1.2.3 -o ../dist
//
// The time in all files is that of the commit, or SOURCE_DATE_EPOCH.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	r := release{}
	flag.StringVar(&r.version, "version", "", "version, such as v1.2.3 (default: the tag of the commit, or one made of it)")
	flag.StringVar(&r.out, "o", "dist", "folder to write to; its files are removed first")
	flag.StringVar(&r.root, "source", "..", "folder of the source")
	flag.Parse()
	if err := r.run(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is what all steps need.
type release struct {
	version string // with "v"
	out     string
	root    string
	time    time.Time // of all files
	work    string    // for what isn't released itself
	// compression is that of .deb; "" is the usual one.
	compression string
	log         func(format string, args ...any)
}

// target is a system that there are binaries for.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "_" + t.arch }

var targets = []target{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}}

func (r *release) run() (err error) {
	began := time.Now()
	if r.log == nil {
		r.log = func(format string, args ...any) {
			fmt.Printf("%4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
		}
	}
	if err := r.prepare(); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	r.log("holdfast %s, of %s", r.version, r.time.Format(time.RFC3339))
	extras, err := r.extras()
	if err != nil {
		return err
	}
	images := map[string]string{}
	for _, t := range targets {
		binary, err := r.build(t, "")
		if err != nil {
			return err
		}
		if err := r.archive(t, binary, extras); err != nil {
			return err
		}
		if t.os != "linux" {
			continue
		}
		// What runs on servers is without the demo.
		if binary, err = r.build(t, "nodemo"); err != nil {
			return err
		}
		if err := r.packages(t.arch, binary, extras); err != nil {
			return err
		}
		images[t.arch] = binary
	}
	if err := r.image(images); err != nil {
		return err
	}
	r.log("checksums")
	return r.checksums()
}

// prepare finds out version and time, and empties the folder.
func (r *release) prepare() (err error) {
	for _, p := range []*string{&r.out, &r.root} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if r.version == "" {
		if r.version, err = r.describe(); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(r.version, "v") {
		r.version = "v" + r.version
	}
	if r.time, err = r.sourceTime(); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "holdfast-release"); err != nil {
		return err
	}
	old, err := os.ReadDir(r.out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range old {
		if !strings.HasPrefix(f.Name(), "holdfast") && f.Name() != sumsFile {
			return fmt.Errorf("%s has a file that isn't of a release, %s: choose another folder", r.out, f.Name())
		}
	}
	for _, f := range old {
		if err := os.RemoveAll(filepath.Join(r.out, f.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(r.out, 0o755)
}

// describe is the version of the commit: its tag, or else v0.0.0 with its time and name,
// which sorts before each release.
func (r *release) describe() (string, error) {
	if tag, err := r.git("describe", "--tags", "--exact-match", "--match", "v[0-9]*"); err == nil {
		return tag, nil
	}
	commit, err := r.git("show", "-s", "--format=%ct %h", "--abbrev=12", "HEAD")
	if err != nil {
		return "", fmt.Errorf("no -version, and %w", err)
	}
	seconds, name, _ := strings.Cut(commit, " ")
	at, err := strconv.ParseInt(seconds, 10, 64)
	return "v0.0.0-" + time.Unix(at, 0).UTC().Format("20060102150405") + "-" + name, err
}

func (r *release) sourceTime() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		var err error
		if text, err = r.git("show", "-s", "--format=%ct", "HEAD"); err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH isn't set, and %w", err)
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

func (r *release) git(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build builds the binary for a target, and writes the list of what is in it. Information
// about the state of the repository isn't part of it, so that the source without git gives
// the same bytes.
func (r *release) build(t target, tags string) (path string, err error) {
	name := "holdfast"
	if t.os == "windows" {
		name += ".exe"
	}
	path = filepath.Join(r.work, t.String()+tags, name)
	r.log("build for %s %s", t, tags)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags=" + tags,
		"-ldflags=-s -w -X github.com/holdfast-ws/holdfast/internal/cli.version=" + r.version, "-o", path, "./cmd/holdfast"}
	return path, r.goCommand(args, "GOOS="+t.os, "GOARCH="+t.arch, "CGO_ENABLED=0")
}

// goCommand runs go in the source.
func (r *release) goCommand(args []string, env ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = r.root
	// Settings of this machine must not change the result.
	cmd.Env = append(append(os.Environ(), "GOFLAGS=-mod=readonly", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off"), env...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// extras are the files besides the binary: manual pages and completions, which a binary
// for this machine writes.
type extras struct {
	man         []string
	completions map[string]string // by shell
}

func (r *release) extras() (*extras, error) {
	binary, err := r.build(target{runtime.GOOS, runtime.GOARCH}, "")
	if err != nil {
		return nil, err
	}
	return r.extrasOf(binary)
}

func (r *release) extrasOf(binary string) (x *extras, err error) {
	x = &extras{completions: map[string]string{}}
	man := filepath.Join(r.work, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command(binary, "man", "--dir", man).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("holdfast man: %w: %s", err, out)
	}
	if x.man, err = filepath.Glob(filepath.Join(man, "*.[1-8]")); err != nil || len(x.man) == 0 {
		return nil, fmt.Errorf("holdfast man has written no pages: %v", err)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out, err := exec.Command(binary, "completion", shell).Output()
		if err != nil {
			return nil, fmt.Errorf("holdfast completion %s: %w", shell, err)
		}
		x.completions[shell] = filepath.Join(r.work, "completion."+shell)
		if err := os.WriteFile(x.completions[shell], out, 0o644); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// image makes the container image, with the program that makes that of
// holdfast-kubernetes, too.
func (r *release) image(binaries map[string]string) error {
	r.log("container image")
	roots := filepath.Join(r.work, "ca-certificates.crt")
	if err := writeRoots(roots); err != nil {
		return err
	}
	args := []string{"run", "./scripts/image", "-o", filepath.Join(r.out, "holdfast_"+r.plainVersion()+"_image.tar"), "-version", r.plainVersion(),
		"-cmd", "run,-c,/etc/holdfast/holdfast.yaml",
		"-add", "/etc/ssl/certs/ca-certificates.crt=" + roots,
		"-add", "/etc/holdfast/holdfast.yaml=" + r.file("holdfast.yaml"),
		"-writable", "/run/holdfast", "-writable", "/var/lib/holdfast", "-writable", "/tmp"}
	for arch, binary := range binaries {
		args = append(args, arch+"="+binary)
	}
	slices.Sort(args[len(args)-len(binaries):])
	return r.goCommand(args)
}

// file is the path of a file of packaging/files.
func (r *release) file(name string) string { return filepath.Join(r.root, "packaging", "files", name) }

// plainVersion is the version without "v", for names of files.
func (r *release) plainVersion() string { return strings.TrimPrefix(r.version, "v") }

const sumsFile = "SHA256SUMS"

// checksums writes the file that sha256sum -c reads.
func (r *release) checksums() error {
	files, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(r.out, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), f.Name())
	}
	return os.WriteFile(filepath.Join(r.out, sumsFile), []byte(b.String()), 0o644)
}
