package pattern

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// MaxPath bounds a path in bytes; no server takes a longer request line.
const MaxPath = 2048

// Path is a pattern for the path of a request: a prefix that ends at a segment
// border, so that /ws matches /ws and /ws/x, not /wsx. Case matters. The zero
// Path matches every request.
type Path struct {
	text    string // without a final slash
	decoded string // text with its percent-encodings resolved
}

// ParsePath reads a pattern, which may be percent-encoded. A final slash makes
// no difference, so "/" is the zero Path. Paths that servers read in different
// ways are refused.
func ParsePath(s string) (Path, error) {
	if err := checkPath(s); err != nil {
		return Path{}, fmt.Errorf("bad path %s: %w", hint.Quote(s), err)
	}
	text := strings.TrimSuffix(s, "/")
	return Path{text, decode(text)}, nil
}

// String returns the pattern in its normal form; "" for the zero Path.
func (p Path) String() string { return p.text }

// Parent returns the pattern without its last segment. The zero Path has none.
func (p Path) Parent() (parent Path, ok bool) {
	if p.text == "" {
		return Path{}, false
	}
	return Path{p.text[:strings.LastIndexByte(p.text, '/')], p.decoded[:strings.LastIndexByte(p.decoded, '/')]}, true
}

// ErrPercent says how a percent sign is used in a path.
var ErrPercent = errors.New("a percent sign stands before two hex digits, as in %20")

// CheckAnyPath checks the rules that all paths share: they begin with a slash
// and are at most MaxPath long.
func CheckAnyPath(s string) error {
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("it must begin with %q", "/")
	}
	if len(s) > MaxPath {
		return fmt.Errorf("longer than %d bytes", MaxPath)
	}
	return nil
}

func checkPath(s string) error {
	if err := CheckAnyPath(s); err != nil {
		return err
	}
	for i, c := range s {
		switch {
		case c == '?' || c == '#':
			return fmt.Errorf("a route looks only at the path, leave out what begins with %s", hint.Quote(string(c)))
		case c == '*':
			return fmt.Errorf("a path is a prefix already, leave out the %q", "*")
		case c == '%':
			if len(s) < i+3 {
				return ErrPercent
			}
			decoded, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return ErrPercent
			}
			// Servers differ in whether these mean the same as the plain
			// characters, so no one rule would hold for all of them.
			if decoded < ' ' || strings.IndexByte("/\\.;", byte(decoded)) >= 0 {
				return fmt.Errorf("leave out %s: servers disagree about what it means", s[i:i+3])
			}
		case c == ';':
			return errors.New("leave out parameters (what begins with \";\"): servers disagree about what they mean")
		case !IsPathChar(c):
			return fmt.Errorf("%s must be percent-encoded, as in %%20", hint.Quote(string(c)))
		}
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(s[1:], "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && s != "/" {
			return fmt.Errorf("leave out empty segments, %q and %q", ".", "..")
		}
	}
	return nil
}

// IsPathChar reports whether a path may have c without percent-encoding: pchar
// of RFC 3986 section 3.3 except "*", ";" and "%", and the slash.
func IsPathChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("/-._~!$&'()+,=:@", c)
}

// Overlaps reports whether some path matches both p and q.
func (p Path) Overlaps(q Path) bool {
	below := func(a, b Path) bool { return a.decoded == b.decoded || strings.HasPrefix(a.decoded, b.decoded+"/") }
	return below(p, q) || below(q, p)
}
