package pattern

import "strings"

// Rewrite replaces the prefix From of a path by To.
type Rewrite struct{ From, To Path }

// Apply returns the path that a server gets instead of path, which has no query. One
// that doesn't begin with From is returned unchanged; replaced says which it is. ok is
// false if servers could disagree about that, or about what is behind the prefix: then
// the request must be refused. So must one whose path would begin with two slashes,
// which some servers take for a host (RFC 3986 section 4.2).
//
// The result is appended to dst[:0] if it is another one than path.
func (r Rewrite) Apply(dst, path []byte) (result []byte, replaced, ok bool) {
	rest, matches, ok := r.From.Rest(path)
	if !ok {
		return nil, false, false
	}
	if !matches {
		return path, false, true
	}
	if r.To.text == "" && len(rest) > 1 {
		if c, _ := at(rest, 1); c == '/' || c == '\\' || c == ';' {
			return nil, false, false
		}
	}
	result = append(append(dst[:0], r.To.text...), rest...)
	if len(result) == 0 {
		result = append(result, '/')
	}
	return result, true, true
}

// Rest returns what follows p in a path that p matches: nothing, or bytes that begin with a
// slash. The path has no query. ok is false if servers could disagree about whether p
// matches.
func (p Path) Rest(path []byte) (rest []byte, matches, ok bool) {
	peculiar, ok := Peculiarities(path)
	if !ok {
		return nil, false, false
	}
	if len(path) == 0 || path[0] != '/' {
		return nil, false, true // the "*" of OPTIONS
	}
	matches = MatchPath(p, path, 0)
	for as := peculiar; as != 0; as = (as - 1) & peculiar {
		if MatchPath(p, path, as) != matches {
			return nil, false, false
		}
	}
	if !matches {
		return nil, false, true
	}
	rest = path
	for range len(p.decoded) {
		_, n := at(rest, 0)
		rest = rest[n:]
	}
	return rest, true, true
}

// Prefix is what a server must put before its own paths so that they lead back to it:
// X-Forwarded-Prefix. It is "" if there is none.
func (r Rewrite) Prefix() string {
	if prefix, ok := strings.CutSuffix(r.From.text, r.To.text); ok {
		return prefix
	}
	return ""
}
