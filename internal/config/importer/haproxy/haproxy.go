// Package haproxy builds a configuration from those of HAProxy (haproxy.cfg).
//
// The frontends of a file are decision lists: rules in their order, each with a
// condition. So are the routes of a configuration. A rule that ends the processing of a
// request becomes routes, one for each combination of conditions that leads to it; one
// that doesn't, such as a header that is set, is carried along to the routes behind it.
// What depends only on the listener, such as ssl_fc, is decided here.
package haproxy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 16 << 20

// version is what conditions such as version_atleast compare with: the release whose
// configuration is understood.
const version = "3.0"

// features are what conditions such as feature(OPENSSL) find. Those of libraries that
// only change how things are done are here, too.
var features = []string{"OPENSSL", "PCRE", "PCRE2", "PCRE_JIT", "PCRE2_JIT", "EPOLL", "THREAD", "GETADDRINFO", "ACCEPT4", "TFO", "NS", "SYSTEMD"}

// Import reads files that belong together, as HAProxy's -f does: of a directory, those
// that end in .cfg. The error has everything that is wrong, or refused.
func Import(paths []string, o importer.Options) (*importer.Result, error) {
	m := &imp{
		Options: o, config: config.Defaults(),
		report:    importer.Report{AcceptLoss: o.AcceptLoss},
		frontends: map[string]*proxy{}, backends: map[string]*proxy{}, resolvers: map[string]*syntax.Section{}, defaults: map[string]*settings{},
		pools: map[string]*target{}, lists: map[string][]string{}, expects: map[string][]config.StatusRange{}, names: map[string]bool{},
	}
	p := &syntax.Parser{Options: syntax.Options{Env: o.Env, Version: version, Features: features}}
	for _, path := range paths {
		files, err := listFiles(path)
		if err != nil {
			m.errs = append(m.errs, config.Error{Place: config.Place{File: path}, Msg: reason(err)})
			continue
		}
		for _, file := range files {
			data, err := readFile(file)
			if err != nil {
				m.errs = append(m.errs, config.Error{Place: config.Place{File: file}, Msg: reason(err)})
				continue
			}
			if m.file == "" {
				m.file = file
			}
			p.Parse(file, data)
		}
	}
	for _, e := range p.Errors {
		m.errs = append(m.errs, config.Error{Place: config.Place{File: e.File, Line: e.Line, Col: e.Col}, Msg: e.Msg})
	}
	if len(m.errs) > 0 {
		return &importer.Result{Format: "haproxy"}, m.errs
	}
	m.lines = p.Config.Lines
	m.marks = make(map[*syntax.Line]*mark, len(m.lines))
	m.Env = p.Variable
	m.read(p.Config.Sections)
	m.build()
	return m.finish()
}

func listFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path) // sorted
	var files []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".cfg") && !strings.HasPrefix(name, ".") && !e.IsDir() {
			files = append(files, filepath.Join(path, name))
		}
	}
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the directory has no file that ends in .cfg")
	}
	return files, err
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("the file is larger than %d MiB", maxFile>>20)
	}
	return os.ReadFile(name)
}

// reason is an error of a file without the file's name.
func reason(err error) string {
	if e, ok := err.(*os.PathError); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// Detect reports whether data looks like a configuration of HAProxy: its first line that
// isn't a comment begins a section, or a conditional block.
func Detect(_ string, data []byte) bool {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		text, _, _ := strings.Cut(string(line), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		last := words[len(words)-1]
		if strings.ContainsAny(last[len(last)-1:], ":{;") {
			return false
		}
		switch word := words[0]; {
		case slices.Contains([]string{".if", ".notice", ".warning", ".diag", ".alert"}, word):
			return true
		case slices.Contains([]string{"global", "defaults", "traces", "crt-store"}, word):
			return true // the name of defaults may be missing
		default:
			return syntax.IsSection(word) && len(words) > 1
		}
	}
	return false
}
