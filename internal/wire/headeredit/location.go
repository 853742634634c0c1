package headeredit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Location is a compiled template for the URL that a client is sent to. It is immutable.
//
// Only the operator's text and ${host}, of which nothing is left but a valid name or
// address, can say which host that is. Parts of the request's own URL are put in as
// received, and of other variables all but letters, digits and "-._~" is percent-encoded.
type Location struct {
	t      Template
	groups int
	rest   bool
}

// ParseLocation compiles a URL: one with http or https, or a path of the same host. It may
// have variables as in Parse, $1 to $9 for what the groups of the route's path_regex have
// matched, and ${path_rest} for what follows its path; a variable that begins the path of
// the URL is at least a slash.
func ParseLocation(s string) (Location, error) {
	l, err := parseLocation(s)
	if err != nil {
		return Location{}, fmt.Errorf("bad URL %s: %w", hint.Quote(s), err)
	}
	return l, nil
}

func parseLocation(s string) (l Location, err error) {
	if s == "" {
		return l, errors.New("it is empty: write for example https://${host}${uri}")
	}
	if len(s) > maxLocation {
		return l, fmt.Errorf("longer than %d bytes", maxLocation)
	}
	if l.t, err = parse(s, true); err != nil {
		return l, err
	}
	behind := s // the scheme
	for _, scheme := range []string{"http://", "https://", "${scheme}://"} {
		if after, ok := strings.CutPrefix(s, scheme); ok {
			behind = after
		}
	}
	switch {
	case behind != s:
		if err := checkHost(behind); err != nil {
			return l, err
		}
	case strings.HasPrefix(s, "//"):
		return l, errors.New("a path can't begin with two slashes: clients take what follows for a host")
	case !slices.ContainsFunc(roots[:], func(root string) bool { return strings.HasPrefix(s, root) }):
		return l, errors.New("it must begin with https://, http:// or a slash")
	}
	_, after := cutHost(behind)
	root := strings.HasPrefix(after, "$")
	for i := range l.t.pieces {
		p := &l.t.pieces[i]
		switch p.kind {
		case text:
			for _, c := range []byte(p.text) {
				if !inURL(c) {
					return l, fmt.Errorf("%s must be percent-encoded, as in %%20", hint.Quote(string(rune(c))))
				}
			}
		case capture:
			l.groups = max(l.groups, int(p.group))
		case pathRest:
			p.root, root, l.rest = root, false, true
		case URI, Path:
			p.root, root = root, false
		case Backend, Pool:
			return l, fmt.Errorf("${%s} is empty here: no backend is asked", words[p.kind])
		}
	}
	return l, nil
}

// maxLocation bounds a template, in bytes.
const maxLocation = 2048

// roots are what a path may begin with.
var roots = [...]string{"/", "${uri}", "${path}", restVariable}

// cutHost cuts what follows the scheme of a template behind the host.
func cutHost(s string) (host, behind string) {
	host = s
	for _, end := range append([]string{"?", "#"}, roots[:]...) {
		host, _, _ = strings.Cut(host, end)
	}
	return host, s[len(host):]
}

// checkHost checks that nothing but the operator and the request's host can say to which
// host a URL leads. s is what follows its scheme.
func checkHost(s string) error {
	host, _ := cutHost(s)
	host = strings.ReplaceAll(host, "${host}", "h")
	switch {
	case host == "":
		return errors.New("the host is missing: write for example https://${host}${uri}")
	case strings.Contains(host, "$"):
		return errors.New("only ${host} may stand in the place of the host, and a path begins with a slash: otherwise a client's text could lead to any host")
	case strings.ContainsFunc(host, func(c rune) bool {
		return !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("-._:[]", c))
	}):
		return fmt.Errorf("bad host %s", hint.Quote(host))
	}
	return nil
}

// Groups is the highest n of a $n in l, 0 if there is none.
func (l *Location) Groups() int { return l.groups }

// UsesRest reports whether l has ${path_rest}.
func (l *Location) UsesRest() bool { return l.rest }

// Append appends the URL for a request. group returns what a group of the route's
// path_regex has matched, as received, and for 0 what follows the route's path. ok is false
// if it could lead elsewhere than it was meant to: the request has no host, or its path would
// be taken for a host.
func (l *Location) Append(dst []byte, from Source, group func(n int) []byte) (url []byte, ok bool) {
	start := len(dst)
	var room [512]byte
	for i := range l.t.pieces {
		p := &l.t.pieces[i]
		switch p.kind {
		case text:
			dst = append(dst, p.text...)
		case pathRest:
			dst = p.appendPath(dst, group(0))
		case capture:
			dst = appendInURL(dst, group(int(p.group)), inURL)
		case URI, Path:
			dst = p.appendPath(dst, from.AppendFact(room[:0], p.kind))
		case Query, Search:
			dst = appendInURL(dst, from.AppendFact(room[:0], p.kind), inURL)
		case Host:
			host := from.AppendFact(room[:0], p.kind)
			if len(host) == 0 {
				return nil, false
			}
			dst = append(dst, host...)
		case part:
			value, _ := p.part.Append(room[:0], from)
			dst = appendInURL(dst, value, unreserved)
		case Claim:
			value, _ := from.Claim(p.text)
			dst = appendInURL(dst, []byte(value), unreserved)
		default:
			dst = appendInURL(dst, from.AppendFact(room[:0], p.kind), unreserved)
		}
	}
	if bytes.HasPrefix(dst[start:], []byte("//")) {
		return nil, false
	}
	return dst, true
}

// appendPath appends a path. Right behind the host it begins with a slash, even that of
// "OPTIONS *", which is empty: what follows must not become a part of the host.
func (p *piece) appendPath(dst, value []byte) []byte {
	if p.root && !bytes.HasPrefix(value, []byte{'/'}) {
		dst = append(dst, '/')
	}
	return appendInURL(dst, value, inURL)
}

func appendInURL(dst, value []byte, plain func(byte) bool) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range value {
		if plain(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// inURL reports whether a URL may have c in it: RFC 3986 section 2. Others, such as a
// backslash or a tab, are read by clients in surprising ways.
func inURL(c byte) bool {
	return unreserved(c) || strings.IndexByte("%:/?#[]@!$&'()*+,;=", c) >= 0
}

func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
