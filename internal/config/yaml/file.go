package yaml

import (
	"fmt"
	"os"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// File is a file that was read: where its values are, and the errors found so
// far. It is the config.Source of what was read from it.
type File struct {
	Report config.Report

	name   string
	values map[config.Path]value
	hidden []hidden
}

// value is what is known about the value at a path.
type value struct {
	line, col int
	text      string // of a single value
	single    bool
	given     bool
	wrong     bool // reported as wrong, or misspelt
}

// Read reads the one document of a file into a section: a pointer to a struct
// with keys, see config.Key. expected describes it in errors. What depends on
// other values or on bounds is left to the checks of package config, which go by
// the File. The error is a config.Errors: the file isn't YAML.
func Read(name string, data []byte, expected string, section any) (*File, error) {
	root, err := parseYAML(name, data)
	if err != nil {
		return nil, config.Errors{*err}
	}
	f := &File{name: name, values: map[config.Path]value{}}
	f.Report.Hider = f
	d := &decoder{File: f, sizes: map[*yaml.Node]int{}, env: os.LookupEnv, files: map[string]string{}}
	d.section("", root, expected, reflect.ValueOf(section).Elem())
	return f, nil
}

// Given implements config.Source, as those below do.
func (f *File) Given(p config.Path) bool { return f.values[p].given }

func (f *File) OK(p config.Path) bool {
	for ok := true; ok; p, ok = p.Parent() {
		if f.values[p].wrong {
			return false
		}
	}
	return true
}

func (f *File) Text(p config.Path) (string, bool) {
	v := f.values[p]
	return v.text, v.single
}

func (f *File) Place(p config.Path) config.Place {
	for ok := true; ok; p, ok = p.Parent() {
		if v := f.values[p]; v.line > 0 {
			return config.Place{File: f.name, Line: v.line, Col: v.col}
		}
	}
	return config.Place{File: f.name}
}

// put notes that the value at a path was given by a node. The root of a file has
// no place: errors about it are about missing keys.
func (f *File) put(p config.Path, n *yaml.Node) {
	if p == "" {
		return
	}
	f.values[p] = value{line: n.Line, col: n.Column, given: !isNull(n)}
}

// spoil notes that the value at a path is wrong, or misspelt.
func (f *File) spoil(p config.Path) {
	v := f.values[p]
	v.wrong = true
	f.values[p] = v
}

// fail reports an error at a node. The value at p is wrong from then on.
func (f *File) fail(p config.Path, n *yaml.Node, format string, args ...any) {
	f.spoil(p)
	f.failAt(p, n, format, args...)
}

// failAt reports an error at a node and leaves the value at p usable.
func (f *File) failAt(p config.Path, n *yaml.Node, format string, args ...any) {
	f.Report.Fail(config.Error{Path: p, Place: config.Place{File: f.name, Line: n.Line, Col: n.Column}, Msg: fmt.Sprintf(format, args...)})
}

// wrongType reports that n is not what was expected.
func (f *File) wrongType(p config.Path, n *yaml.Node, expected string) {
	f.fail(p, n, "expected %s, got %s", expected, describe(n))
}

// earlier refers back to a node from a later one.
func earlier(n *yaml.Node) string { return fmt.Sprintf("on line %d", n.Line) }

func contains(keys []config.Key, name string) bool {
	return slices.ContainsFunc(keys, func(k config.Key) bool { return k.Name == name })
}
