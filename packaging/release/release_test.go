package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// newRelease is a release of which nothing is built.
func newRelease(t *testing.T, version string) *release {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return &release{version: version, out: t.TempDir(), root: root, work: t.TempDir(), time: time.Unix(1_790_000_000, 0).UTC(), log: t.Logf}
}

// standIns are extras, in the place of those that the binary writes.
func (r *release) standIns(t *testing.T) *extras {
	t.Helper()
	x := &extras{completions: map[string]string{}}
	write := func(name string) string {
		path := filepath.Join(r.work, name)
		if err := os.WriteFile(path, []byte("text of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	x.man = []string{write("holdfast.1"), write("holdfast.yaml.5")}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		x.completions[shell] = write("completion." + shell)
	}
	return x
}

// binary is a small binary of Go.
func binary(t *testing.T) string {
	t.Helper()
	return filepath.Join(strings.TrimSpace(run(t, "go", "env", "GOTOOLDIR")), "asm")
}

// readAll reads all files of a folder.
func readAll(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, f := range list {
		if all[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// make makes everything for linux/amd64 and windows/amd64, except the binaries and the
// image.
func (r *release) make(t *testing.T) {
	t.Helper()
	x := r.standIns(t)
	for _, err := range []error{
		r.archive(target{"linux", "amd64"}, binary(t), x), r.archive(target{"windows", "amd64"}, binary(t), x),
		r.packages("amd64", binary(t), x), r.checksums(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestReproducible: two releases of the same source have the same bytes, though they were
// made in other folders and at other times.
func TestReproducible(t *testing.T) {
	t.Parallel()
	one, two := newRelease(t, "v1.2.3"), newRelease(t, "v1.2.3")
	one.make(t)
	two.make(t)
	a, b := readAll(t, one.out), readAll(t, two.out)
	names := slices.Sorted(maps.Keys(a))
	want := []string{
		"SHA256SUMS", "holdfast-1.2.3-1.x86_64.rpm", "holdfast_1.2.3_amd64.deb", "holdfast_1.2.3_linux_amd64.cdx.json",
		"holdfast_1.2.3_linux_amd64.tar.gz", "holdfast_1.2.3_packages_amd64.cdx.json", "holdfast_1.2.3_windows_amd64.cdx.json", "holdfast_1.2.3_windows_amd64.zip",
	}
	if !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s has other bytes the second time", name)
		}
	}
	check := exec.Command("sha256sum", "--strict", "-c", sumsFile)
	check.Dir = one.out
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != len(want)-1 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEarlierFiles: a release replaces the files of another, and no others.
func TestEarlierFiles(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	r := newRelease(t, "1.2.3")
	old := filepath.Join(r.out, "holdfast_1.2.2_linux_amd64.tar.gz")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.prepare(); err != nil || r.version != "v1.2.3" || r.time.Unix() != 1_790_000_000 {
		t.Errorf("%v, %s, %v", err, r.version, r.time)
	}
	defer os.RemoveAll(r.work)
	if _, err := os.Stat(old); err == nil {
		t.Error("the file of another release stays")
	}
	other := filepath.Join(r.out, "letter.txt")
	if err := os.WriteFile(other, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.prepare(); err == nil || !strings.Contains(err.Error(), "letter.txt") {
		t.Errorf("a file of somebody else: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

// TestSBOM: the list is as the schema of CycloneDX says, and has what the binary is made of.
func TestSBOM(t *testing.T) {
	t.Parallel()
	r := newRelease(t, "v1.2.3")
	path := filepath.Join(r.out, "bom.json")
	this, err := os.Executable() // which has modules
	if err != nil {
		t.Fatal(err)
	}
	if err := r.sbom(this, path); err != nil {
		t.Fatal(err)
	}
	// The module that writes it has the schemas.
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	const base = "http://cyclonedx.org/schema/"
	c := jsonschema.NewCompiler()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schemax.json"} {
		f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "schema", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		schema, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(base+strings.Replace(name, "schemax", "schema", 1), schema); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(base + "bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bom, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(bom); err != nil {
		t.Error(err)
	}
	bom.(map[string]any)["components"] = "none"
	if schema.Validate(bom) == nil {
		t.Error("the schema accepts anything")
	}
	var is struct {
		Metadata   struct{ Component struct{ Version string } }
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &is); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range is.Components {
		names = append(names, c.Name)
		if c.PURL != "pkg:golang/"+c.Name+"@"+c.Version || c.Version == "" {
			t.Errorf("component %+v", c)
		}
	}
	if is.Metadata.Component.Version != "v1.2.3" || !slices.Contains(names, "std") || !slices.Contains(names, "github.com/goreleaser/nfpm/v2") {
		t.Errorf("version %s, components %q", is.Metadata.Component.Version, names)
	}
}

// run runs a program and returns its output.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// installed are the files of the packages, besides the documentation.
var installed = []string{
	"/etc/holdfast/holdfast.yaml", "/usr/bin/holdfast", "/usr/lib/systemd/system/holdfast.service", "/usr/lib/systemd/system/holdfast.socket",
	"/usr/lib/sysusers.d/holdfast.conf", "/usr/share/bash-completion/completions/holdfast", "/usr/share/doc/holdfast/LICENSE",
	"/usr/share/doc/holdfast/docs/install.md", "/usr/share/fish/vendor_completions.d/holdfast.fish",
	"/usr/share/man/man1/holdfast.1.gz", "/usr/share/man/man5/holdfast.yaml.5.gz",
}

// TestPackages: dpkg and rpm read the packages, and their versions sort before those of the
// final release if it isn't one.
func TestPackages(t *testing.T) {
	t.Parallel()
	r := newRelease(t, "v2.0.0-rc.1")
	if err := r.packages("arm64", binary(t), r.standIns(t)); err != nil {
		t.Fatal(err)
	}
	deb, rpm := filepath.Join(r.out, "holdfast_2.0.0~rc.1_arm64.deb"), filepath.Join(r.out, "holdfast-2.0.0~rc.1-1.aarch64.rpm")
	contents := run(t, "dpkg-deb", "--contents", deb)
	for _, path := range append(installed, "/usr/share/zsh/vendor-completions/_holdfast") {
		if !strings.Contains(contents, " ."+path+"\n") {
			t.Errorf("the .deb has no %s:\n%s", path, contents)
		}
	}
	for line := range strings.Lines(contents) {
		if !strings.Contains(line, " root/root ") {
			t.Errorf("not root's: %s", line)
		}
	}
	if got := run(t, "dpkg-deb", "--field", deb, "Version", "Architecture"); got != "Version: 2.0.0~rc.1\nArchitecture: arm64\n" {
		t.Errorf("fields:\n%s", got)
	}
	run(t, "dpkg", "--compare-versions", "2.0.0~rc.1", "lt", "2.0.0")
	if got := run(t, "dpkg-deb", "--info", deb, "conffiles"); got != "/etc/holdfast/holdfast.yaml\n" {
		t.Errorf("conffiles %q", got)
	}

	if out := run(t, "rpm", "-K", "--nosignature", rpm); !strings.Contains(out, "OK") {
		t.Error(out)
	}
	list := run(t, "rpm", "-qpl", rpm)
	for _, path := range append(installed, "/usr/share/zsh/site-functions/_holdfast") {
		if !strings.Contains("\n"+list, "\n"+path+"\n") {
			t.Errorf("the .rpm has no %s:\n%s", path, list)
		}
	}
	if got := run(t, "rpm", "-qp", "--qf", "%{version} %{arch} %{license} [%{filenames}=%{fileflags:fflags} ]", rpm); !strings.HasPrefix(got, "2.0.0~rc.1 aarch64 Apache-2.0 ") ||
		!strings.Contains(got, "/etc/holdfast/holdfast.yaml=cn ") {
		t.Errorf("header of the .rpm: %.300s", got)
	}
	if scripts := run(t, "rpm", "-qp", "--scripts", rpm); !strings.Contains(scripts, "postinstall scriptlet") || !strings.Contains(scripts, "preuninstall scriptlet") {
		t.Error(scripts)
	}
}
