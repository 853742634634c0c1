package pattern

import (
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// ExactPath is a pattern for one path. Unlike with Path, a slash at the end makes it
// another one. The zero ExactPath matches every request.
type ExactPath struct{ text, decoded string }

// ParseExactPath reads a pattern, which may be percent-encoded. Paths that servers read
// in different ways are refused.
func ParseExactPath(s string) (ExactPath, error) {
	if err := checkPath(s); err != nil {
		return ExactPath{}, fmt.Errorf("bad path %s: %w", hint.Quote(s), err)
	}
	return ExactPath{s, decode(s)}, nil
}

// String returns the pattern as ParseExactPath read it; "" for the zero ExactPath.
func (p ExactPath) String() string { return p.text }

// Path is the prefix of whole segments that every path matched by p has.
func (p ExactPath) Path() Path {
	if p.text == "" {
		return Path{}
	}
	path, _ := ParsePath(p.text) // the rules are the same
	return path
}

// BeginPath is a pattern for the beginning of a path, which may end within a segment: /ws
// matches /ws/x and also /wsx. The zero BeginPath matches every request.
type BeginPath struct{ text, decoded string }

// ParseBeginPath reads a pattern, which may be percent-encoded. "/" is the beginning of
// every path.
func ParseBeginPath(s string) (BeginPath, error) {
	// The last segment isn't complete: "/." is the beginning of "/.well-known".
	if err := checkPath(s + "x"); err != nil {
		return BeginPath{}, fmt.Errorf("bad path %s: %w", hint.Quote(s), err)
	}
	return BeginPath{s, decode(s)}, nil
}

// String returns the pattern as ParseBeginPath read it; "" for the zero BeginPath.
func (p BeginPath) String() string { return p.text }

// Path is the longest prefix of whole segments that every path matched by p has.
func (p BeginPath) Path() Path {
	whole := p.text[:strings.LastIndexByte(p.text, '/')+1]
	if whole == "" {
		return Path{}
	}
	path, _ := ParsePath(whole) // the rules are the same
	return path
}

// MatchExactPath reports whether p is a path that Peculiarities accepted, under one
// reading of that path.
func MatchExactPath[S ~string | ~[]byte](p ExactPath, path S, as Reading) bool {
	if p.decoded == "" {
		return true
	}
	r := reader[S]{rest: path, as: as}
	if !r.begins(p.decoded) {
		return false
	}
	_, more := r.next()
	return !more
}

// MatchBeginPath reports whether p is the beginning of a path that Peculiarities
// accepted, under one reading of that path.
func MatchBeginPath[S ~string | ~[]byte](p BeginPath, path S, as Reading) bool {
	r := reader[S]{rest: path, as: as}
	return r.begins(p.decoded)
}

// begins reads as many bytes as text has, and reports whether they are the same.
func (r *reader[S]) begins(text string) bool {
	for i := range len(text) {
		if c, ok := r.next(); !ok || c != text[i] {
			return false
		}
	}
	return true
}
