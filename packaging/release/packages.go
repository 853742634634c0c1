package main

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// packages writes the .deb and the .rpm for an architecture of Linux, and the list of what
// is in their binary.
func (r *release) packages(arch, binary string, x *extras) error {
	for _, format := range []string{"deb", "rpm"} {
		if err := r.pack(format, arch, binary, x); err != nil {
			return err
		}
	}
	return r.sbom(binary, filepath.Join(r.out, "holdfast_"+r.plainVersion()+"_packages_"+arch+".cdx.json"))
}

func (r *release) pack(format, arch, binary string, x *extras) error {
	r.log("%s for %s", format, arch)
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	info, err := r.info(format, arch, binary, x)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := packager.Package(info, &b); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, packager.ConventionalFileName(info)), b.Bytes(), 0o644)
}

func (r *release) info(format, arch, binary string, x *extras) (*nfpm.Info, error) {
	file := func(from, to string, mode os.FileMode) *files.Content {
		return &files.Content{Source: from, Destination: to, FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.time}}
	}
	contents := files.Contents{
		file(binary, "/usr/bin/holdfast", 0o755),
		file(r.file("holdfast.service"), "/usr/lib/systemd/system/holdfast.service", 0o644),
		file(r.file("holdfast.socket"), "/usr/lib/systemd/system/holdfast.socket", 0o644),
		file(r.file("sysusers.conf"), "/usr/lib/sysusers.d/holdfast.conf", 0o644),
		file(r.file("copyright"), "/usr/share/doc/holdfast/copyright", 0o644),
		file(filepath.Join(r.root, "README.md"), "/usr/share/doc/holdfast/README.md", 0o644),
		file(filepath.Join(r.root, "LICENSE"), "/usr/share/doc/holdfast/LICENSE", 0o644),
	}
	example := file(r.file("holdfast.yaml"), "/etc/holdfast/holdfast.yaml", 0o640)
	example.Type = files.TypeConfigNoReplace
	contents = append(contents, example)
	docs, err := filepath.Glob(filepath.Join(r.root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		contents = append(contents, file(d, "/usr/share/doc/holdfast/docs/"+filepath.Base(d), 0o644))
	}
	for _, page := range x.man {
		section := filepath.Ext(page)[1:]
		packed, err := r.gzip(page)
		if err != nil {
			return nil, err
		}
		contents = append(contents, file(packed, "/usr/share/man/man"+section+"/"+filepath.Base(packed), 0o644))
	}
	for shell, to := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/", "fish": "/usr/share/fish/vendor_completions.d/", "zsh": "/usr/share/zsh/vendor-completions/",
	} {
		if shell == "zsh" && format == "rpm" {
			to = "/usr/share/zsh/site-functions/"
		}
		contents = append(contents, file(x.completions[shell], to+completionFile(shell), 0o644))
	}
	info := &nfpm.Info{
		Name: "holdfast", Arch: arch, Platform: "linux", Version: r.version, MTime: r.time,
		Maintainer: "The holdfast authors <holdfast@users.noreply.github.com>", Homepage: "https://github.com/holdfast-ws/holdfast", License: "Apache-2.0",
		Section: "net", Priority: "optional",
		Description: "load balancer for WebSockets\nIt knows where messages begin and end: it closes sessions between two messages,\ndrains servers, moves sessions to other servers, and reports why each session ended.",
		Overridables: nfpm.Overridables{
			Contents: contents, Umask: 0o022,
			Scripts: nfpm.Scripts{PostInstall: r.file("scripts/postinstall.sh"), PreRemove: r.file("scripts/preremove.sh"), PostRemove: r.file("scripts/postremove.sh")},
			RPM:     nfpm.RPM{BuildHost: "localhost", Summary: "Load balancer for WebSockets", Compression: "zstd"},
			Deb:     nfpm.Deb{Compression: cmp.Or(r.compression, "gzip:9")}, // which each dpkg reads; xz takes ten times as long,
		},
	}
	// useradd, where there is no systemd-sysusers.
	if format == "deb" {
		info.Depends, info.Recommends = []string{"passwd"}, []string{"ca-certificates"}
	} else {
		info.Depends, info.Recommends = []string{"shadow-utils"}, []string{"ca-certificates"}
	}
	return nfpm.WithDefaults(info), nfpm.PrepareForPackager(info, format)
}
