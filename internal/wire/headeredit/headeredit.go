// Package headeredit changes header fields of requests and answers as an operator
// has configured it: it removes fields, sets them, and adds others. Values may have
// variables, see Parse.
//
// Whatever a variable stands for may be from a client. In a value, bytes that no
// field may have are replaced by spaces, so that no value can end its line. A field
// whose value comes out empty is not sent; the one of that name that a client has
// sent isn't passed on either.
package headeredit

import (
	"net/http"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Spec is what to change. Names have any case; set and add have names and values
// of fields. What is removed or set is removed first, so a field may be removed and
// added.
type Spec struct {
	Set, Add [][2]string
	Remove   []string
}

// names reports whether s changes fields of that name.
func (s *Spec) names(name string) bool {
	same := func(other string) bool { return fold(other) == fold(name) }
	pair := func(f [2]string) bool { return same(f[0]) }
	return slices.ContainsFunc(s.Set, pair) || slices.ContainsFunc(s.Add, pair) || slices.ContainsFunc(s.Remove, same)
}

// Edits are compiled Specs. They are immutable; nil changes nothing.
type Edits struct {
	drop   []string // as fold returns them
	fields []field
}

type field struct {
	name  string
	value Template
}

// New compiles specs. A later one takes precedence: what earlier ones do to a field
// that it names is void. The result is nil if there is nothing to do. The error is
// one of Parse.
func New(specs ...Spec) (*Edits, error) {
	e := new(Edits)
	for i, s := range specs {
		void := func(name string) bool {
			return slices.ContainsFunc(specs[i+1:], func(later Spec) bool { return later.names(name) })
		}
		for _, name := range s.Remove {
			if !void(name) {
				e.drop = append(e.drop, fold(name))
			}
		}
		for j, f := range slices.Concat(s.Set, s.Add) {
			if void(f[0]) {
				continue
			}
			value, err := Parse(f[1])
			if err != nil {
				return nil, err
			}
			if j < len(s.Set) {
				e.drop = append(e.drop, fold(f[0]))
			}
			e.fields = append(e.fields, field{f[0], value})
		}
	}
	if e.drop == nil && e.fields == nil {
		return nil, nil
	}
	return e, nil
}

// Source has the values of variables for one request.
type Source interface {
	requestkey.Request
	// AppendFact appends the value of a variable that isn't a part of the request;
	// nothing if there is none.
	AppendFact(dst []byte, k Kind) []byte
}

// Drops reports whether a field that was received is not passed on. It also is not if
// a server could confuse it with one that is set or removed (see
// httphead.Resembles): the sender could choose its value otherwise.
func (e *Edits) Drops(name []byte) bool {
	if e == nil {
		return false
	}
	for _, drop := range e.drop {
		if httphead.Resembles(name, drop) {
			return true
		}
	}
	return false
}

// Uses reports whether a value has a variable of kind k.
func (e *Edits) Uses(k Kind) bool {
	return e != nil && slices.ContainsFunc(e.fields, func(f field) bool { return f.value.Uses(k) })
}

// Append appends the fields that are set and added, as lines with CR LF.
func (e *Edits) Append(dst []byte, from Source) []byte {
	if e == nil {
		return dst
	}
	for i := range e.fields {
		f := &e.fields[i]
		line := len(dst)
		dst = append(append(dst, f.name...), ": "...)
		value := len(dst)
		if dst = f.value.append(dst, from); len(dst) == value {
			dst = dst[:line]
			continue
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// Each calls set with the fields that Append appends.
func (e *Edits) Each(from Source, set func(name, value string)) {
	if e == nil {
		return
	}
	var space [256]byte
	for i := range e.fields {
		if value := e.fields[i].value.append(space[:0], from); len(value) > 0 {
			set(e.fields[i].name, string(value))
		}
	}
}

// Edit changes the header of a message that is passed on.
func (e *Edits) Edit(h http.Header, from Source) {
	if e == nil {
		return
	}
	for name := range h {
		if e.Drops([]byte(name)) {
			delete(h, name)
		}
	}
	e.Each(from, h.Add)
}

// fold is the form of a name in which httphead.Resembles compares.
func fold(name string) string {
	folded := []byte(name)
	for i, c := range folded {
		switch {
		case 'A' <= c && c <= 'Z':
			folded[i] = c | 0x20
		case !httphead.IsPlainName(folded[i : i+1]):
			folded[i] = '-'
		}
	}
	return string(folded)
}
