package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one mistake (or warning) and where it stands.
type Error struct {
	File string // as given to Load, or a command line flag with its value
	// Line and Col count from 1, Col in characters. Line 0 means that the
	// mistake has no place, such as a missing section.
	Line, Col int
	Msg       string // one line
}

// Error is "holdfast.yaml:7:5: msg", or "holdfast.yaml: msg" without a place.
func (e Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// Errors are all mistakes of a file, in file order, those without a place
// first.
type Errors []Error

// Error has one line for each mistake.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// maxErrors bounds the mistakes told for one file, and with it the work done
// on a file that is not a configuration at all.
const maxErrors = 200

// place is where something was given: a position in a file, or a flag.
type place struct {
	file string
	Pos
}

// earlier refers back to p from a later place.
func (p place) earlier() string {
	if p.Line == 0 {
		return "given before"
	}
	return fmt.Sprintf("on line %d", p.Line)
}

// report collects mistakes and warnings. What is reported twice is kept once:
// text below an anchor is read again for every alias of it.
type report struct {
	errs     []Error
	warnings []Error
	told     map[Error]bool
}

func (r *report) fail(at place, format string, args ...any) {
	if len(r.errs) < maxErrors {
		r.errs = r.tell(r.errs, at.error(format, args...))
	}
}

func (r *report) warn(at place, format string, args ...any) {
	if len(r.warnings) < maxErrors {
		r.warnings = r.tell(r.warnings, at.error(format, args...))
	}
}

func (r *report) tell(list []Error, e Error) []Error {
	if r.told[e] {
		return list
	}
	if r.told == nil {
		r.told = make(map[Error]bool)
	}
	r.told[e] = true
	return append(list, e)
}

// full tells that looking for further mistakes is of no use.
func (r *report) full() bool { return len(r.errs) >= maxErrors }

func (p place) error(format string, args ...any) Error {
	return Error{File: p.file, Line: p.Line, Col: p.Col, Msg: fmt.Sprintf(format, args...)}
}

// inFileOrder sorts es, and says so if it may not be all of them.
func inFileOrder(es []Error) []Error {
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if len(es) == maxErrors {
		last := es[maxErrors-1]
		last.Msg = fmt.Sprintf("no more than %d are told at once, there may be others", maxErrors)
		es = append(es, last)
	}
	return es
}

// quote is s in quotes, cut to a readable length, with everything escaped that
// a terminal could stumble over.
func quote(s string) string { return strconv.Quote(cut(s)) }

// cut shortens s to a length that is readable in a message.
func cut(s string) string {
	const most = 80
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
