package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one error or warning about a configuration.
type Error struct {
	// Path is the value that it is about; "" if it is about a text that
	// couldn't be read as a configuration, or about the whole.
	Path Path
	// Place is where the value was given. It is zero for a Config that a
	// program has built.
	Place
	Msg string // one line
}

// Place is where a value was given.
type Place struct {
	File string // the name of a file, or a command line flag with its value
	// Line and Col count from 1, Col in characters. Line 0 means that there is
	// no such place, as for a missing section.
	Line, Col int
}

// Error is "holdfast.yaml:7:5: msg" for a value from a file, "holdfast.yaml:
// msg" if it has no line, and "pools.chat.drain.code: msg" for one that a
// program has set.
func (e Error) Error() string {
	switch {
	case e.File == "" && e.Path == "":
		return e.Msg
	case e.File == "":
		return string(e.Path) + ": " + e.Msg
	case e.Line == 0:
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// Errors are all errors of a configuration: those of a file in its order, those
// without a line first.
type Errors []Error

// Error has one line for each error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// maxErrors bounds the errors reported for one configuration, and with it the
// work done on a file that isn't a configuration at all.
const maxErrors = 200

// Report collects errors and warnings. What is reported twice for one place is
// kept once, since text below an anchor is read again for every alias of it.
type Report struct {
	// Hider, if it isn't nil, takes out of errors and warnings what nobody should read.
	Hider interface{ Hide(Error) Error }

	errs, warnings []Error
	known          map[Error]bool
}

// Fail adds an error. Its Path doesn't count for whether there is the same one
// already, unless it has no place.
func (r *Report) Fail(e Error) { r.errs = r.add(r.errs, e) }

// Warn adds a warning.
func (r *Report) Warn(e Error) { r.warnings = r.add(r.warnings, e) }

func (r *Report) add(list []Error, e Error) []Error {
	if r.Hider != nil {
		e = r.Hider.Hide(e)
	}
	key := e
	if e.File != "" {
		key.Path = ""
	}
	if len(list) >= maxErrors || r.known[key] {
		return list
	}
	if r.known == nil {
		r.known = make(map[Error]bool)
	}
	r.known[key] = true
	return append(list, e)
}

// full reports whether looking for further errors is useless.
func (r *Report) full() bool { return len(r.errs) >= maxErrors }

// Errors returns the errors in their order, and Warnings the warnings. The last
// one says so if there may be more.
func (r *Report) Errors() Errors    { return inOrder(r.errs) }
func (r *Report) Warnings() []Error { return inOrder(r.warnings) }

func inOrder(es []Error) []Error {
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if len(es) == maxErrors {
		last := es[maxErrors-1]
		last.Msg = fmt.Sprintf("no more than %d are reported at once, there may be others", maxErrors)
		es = append(es, last)
	}
	return es
}
