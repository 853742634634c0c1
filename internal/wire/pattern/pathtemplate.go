package pattern

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// PathTemplate makes a path of what a Regex has matched in another one, and of that path.
// The zero PathTemplate is the path itself.
type PathTemplate struct {
	text   string
	pieces []pathPiece
	groups int
}

// pathPiece is a text, or what a group of the expression has matched; 0 is the whole path.
type pathPiece struct {
	text, decoded string
	group         int
}

// maxPathGroups bounds how often a template refers to the path, and so how long its result
// can be.
const maxPathGroups = 16

// ParsePathTemplate reads a template: a path, in which $1 to $9 (or ${1} to ${9}) are what
// the groups of an expression have matched, ${path} is the whole path, and $$ a dollar.
func ParsePathTemplate(s string) (PathTemplate, error) {
	t, err := parsePathTemplate(s)
	if err != nil {
		return PathTemplate{}, fmt.Errorf("bad path %s: %w", hint.Quote(s), err)
	}
	return t, nil
}

func parsePathTemplate(s string) (t PathTemplate, err error) {
	if !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "$") {
		return t, fmt.Errorf("it must begin with %q, or with $1", "/")
	}
	if len(s) > MaxPath {
		return t, fmt.Errorf("longer than %d bytes", MaxPath)
	}
	t.text = s
	literal := ""
	for rest := s; rest != ""; {
		before, after, found := strings.Cut(rest, "$")
		literal, rest = literal+before, after
		if !found {
			break
		}
		if rest, found = strings.CutPrefix(after, "$"); found {
			literal += "$"
			continue
		}
		name, behind, closed := after, "", true
		if inner, ok := strings.CutPrefix(after, "{"); ok {
			name, behind, closed = strings.Cut(inner, "}")
		} else if after != "" {
			name, behind = after[:1], after[1:]
		}
		group, err := strconv.Atoi(name)
		switch {
		case closed && name == "path":
			group = 0
		case !closed || err != nil || group < 1 || group > 9:
			return t, fmt.Errorf("after a %q comes the number of a group of path_regex, as in /$1, or {path}: write $$ for the character itself", "$")
		}
		if literal != "" {
			t.pieces = append(t.pieces, pathPiece{text: literal})
		}
		t.pieces, literal, rest = append(t.pieces, pathPiece{group: group}), "", behind
		if t.groups = max(t.groups, group); len(t.pieces) > 2*maxPathGroups {
			return t, fmt.Errorf("it refers to the path more than %d times", maxPathGroups)
		}
	}
	if literal != "" {
		t.pieces = append(t.pieces, pathPiece{text: literal})
	}
	for i := range t.pieces {
		p := &t.pieces[i]
		if err := checkLiteral(p.text); err != nil {
			return t, err
		}
		p.decoded = decode(p.text)
	}
	var x Groups
	for i := range x {
		x[i] = []byte("x")
	}
	if _, ok := Peculiarities(t.make(nil, []byte("/x"), &x)); !ok {
		return t, fmt.Errorf("leave out the segments %q and %q", ".", "..")
	}
	return t, nil
}

// checkLiteral checks a part of a path.
func checkLiteral(s string) error {
	for i, c := range s {
		switch {
		case c == '%':
			if len(s) < i+3 {
				return ErrPercent
			}
			if _, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err != nil {
				return ErrPercent
			}
		case c == '?':
			return errors.New("the query of the request stays as it is: leave out what begins with a question mark")
		case !IsPathChar(c) && c != '*' && c != ';':
			return fmt.Errorf("%s must be percent-encoded, as in %%20", hint.Quote(string(c)))
		}
	}
	if strings.Contains(s, "//") {
		return errors.New("leave out empty segments")
	}
	return nil
}

// String returns the template as ParsePathTemplate read it.
func (t *PathTemplate) String() string { return t.text }

// Groups is the highest n of a $n in t, 0 if there is none.
func (t *PathTemplate) Groups() int { return t.groups }

// Apply returns the path that a server gets instead of path, which has no query and which
// r has matched. Groups that haven't taken part in the match are empty. A result that
// doesn't begin with a slash gets one. What is put in is as received, byte by byte.
//
// ok is false if the request must be refused. Whoever reads the path in another way (see
// Reading) must see in the result what would be made of the path as he reads it: from
// "/a;b", "/$1.txt" can't make "/a;b.txt", where some see "/a". Nor may the result have dot
// segments or begin with two slashes.
//
// The result is appended to dst[:0].
func (t *PathTemplate) Apply(dst []byte, r Regex, path []byte) (result []byte, ok bool) {
	peculiar, ok := Peculiarities(path)
	if !ok {
		return nil, false
	}
	if len(path) == 0 || path[0] != '/' {
		return path, true // the "*" of OPTIONS
	}
	groups, ok := Captured(r, path, 0)
	if !ok {
		return nil, false
	}
	result = t.make(dst[:0], path, &groups)
	for as := peculiar; as != 0; as = (as - 1) & peculiar {
		if !t.makes(result, r, path, as) {
			return nil, false
		}
	}
	if _, ok := Peculiarities(result); !ok || len(result) > maxRewritten || len(result) > 1 && startsLikeHost(result) {
		return nil, false
	}
	return result, true
}

// maxRewritten bounds a path that a template has made, in bytes.
const maxRewritten = 64 << 10

// startsLikeHost reports whether some servers would take a path for one that begins with
// two slashes.
func startsLikeHost(path []byte) bool {
	c, _ := at(path, 1)
	return c == '/' || c == '\\' || c == ';'
}

// make writes the result to dst, which is empty.
func (t *PathTemplate) make(dst, path []byte, g *Groups) []byte {
	for _, p := range t.pieces {
		switch {
		case p.text != "":
			dst = append(dst, p.text...)
		case p.group == 0:
			dst = append(dst, path...)
		default:
			dst = append(dst, g[p.group]...)
		}
	}
	if len(dst) == 0 || dst[0] != '/' {
		dst = slices.Insert(dst, 0, '/')
	}
	return dst
}

// makes reports whether result, under one reading, is what t makes of path under that
// reading.
func (t *PathTemplate) makes(result []byte, r Regex, path []byte, as Reading) bool {
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.decode(path, as)
	var groups Groups
	groups[0] = d.decoded
	if r.re != nil {
		found := r.re.FindSubmatchIndex(d.decoded)
		if found == nil {
			return false
		}
		for i := 1; i < len(groups) && 2*i < len(found); i++ {
			if found[2*i] >= 0 {
				groups[i] = d.decoded[found[2*i]:found[2*i+1]]
			}
		}
	}
	var want []byte
	for _, p := range t.pieces {
		if p.text != "" {
			want = append(want, p.decoded...)
		} else {
			want = append(want, groups[p.group]...)
		}
	}
	if len(want) == 0 || want[0] != '/' {
		want = slices.Insert(want, 0, '/')
	}
	seen := reader[[]byte]{rest: result, as: as}
	for i, c := range want {
		if as&mergesSlashes != 0 && c == '/' && i > 0 && want[i-1] == '/' {
			continue
		}
		if got, ok := seen.next(); !ok || got != c {
			return false
		}
	}
	_, more := seen.next()
	return !more
}
