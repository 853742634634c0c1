package pattern

import (
	"bytes"
	"sync"
)

// MatchPathRegex reports whether r matches a path that Peculiarities accepted, decoded
// under one reading. A path is one that begins with a slash.
func MatchPathRegex[S ~string | ~[]byte](r Regex, path S, as Reading) bool {
	switch {
	case r.re == nil:
		return true
	case len(path) == 0 || path[0] != '/':
		return false
	case as == 0 && !isEncoded(path):
		return MatchRegex(r, path)
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.path = append(d.path[:0], path...)
	d.decode(d.path, as)
	return r.re.Match(d.decoded)
}

func isEncoded[S ~string | ~[]byte](path S) bool {
	for i := range len(path) {
		if path[i] == '%' {
			return true
		}
	}
	return false
}

// Groups are what the groups of an expression have matched, as received; the first is the
// whole path.
type Groups [10][]byte

// Captured returns what the groups of r have matched in a path that Peculiarities
// accepted, under one reading of it; ok reports whether r matches at all. A group begins
// and ends with the bytes of the path that stand for what it has matched.
func Captured(r Regex, path []byte, as Reading) (g Groups, ok bool) {
	g[0] = path
	if r.re == nil {
		return g, true
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.decode(path, as)
	found := r.re.FindSubmatchIndex(d.decoded)
	if found == nil {
		return g, false
	}
	for i := 1; i < len(g) && 2*i < len(found); i++ {
		if from, to := found[2*i], found[2*i+1]; from >= 0 {
			g[i] = path[d.begins[from]:d.begins[to]]
		}
	}
	return g, true
}

// CapturedByAll is Captured under every reading of a path without its query. ok is false if
// the groups depend on the reading, or if the path must be refused.
func CapturedByAll(r Regex, path []byte) (g Groups, ok bool) {
	peculiar, ok := Peculiarities(path)
	if !ok {
		return g, false
	}
	g, ok = Captured(r, path, 0)
	for as := peculiar; as != 0 && ok; as = (as - 1) & peculiar {
		var other Groups
		other, ok = Captured(r, path, as)
		for i := range g {
			ok = ok && bytes.Equal(g[i], other[i])
		}
	}
	return g, ok
}

// decoder decodes paths for expressions, which need them in one piece.
type decoder struct {
	path    []byte // a copy, if there is need of one
	decoded []byte
	begins  []int // where each byte of decoded begins in the path, and where the path ends
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func (d *decoder) decode(path []byte, as Reading) {
	d.decoded, d.begins = d.decoded[:0], d.begins[:0]
	r := reader[[]byte]{rest: path, as: as}
	for {
		c, ok := r.next()
		if !ok {
			break
		}
		begin := len(path) - len(r.rest) - 1
		if begin >= 2 && path[begin-2] == '%' { // it was percent-encoded
			begin -= 2
		}
		d.decoded = append(d.decoded, c)
		d.begins = append(d.begins, begin)
	}
	d.begins = append(d.begins, len(path))
}
