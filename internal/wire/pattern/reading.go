package pattern

// Reading is a set of ways in which a server may see more in a path than plain
// text.
type Reading uint8

const (
	mergesSlashes    Reading = 1 << iota // "//" is "/"
	decodesSlashes                       // "%2F" is "/"
	turnsBackslashes                     // "%5C" is "/"
	cutsParameters                       // ";x" up to the next slash is nothing
	cutsDecoded                          // so is "%3Bx"
)

// WithoutQuery returns the path of a request target.
func WithoutQuery[S ~string | ~[]byte](target S) S {
	for i := range len(target) {
		if target[i] == '?' {
			return target[:i]
		}
	}
	return target
}

// Peculiarities returns the ways in which servers may read the path of a
// request differently. ok is false if the path must be refused whatever the
// patterns are. It reads as liberally as any server might, so that it finds
// each dot segment and each empty segment that any reading could.
func Peculiarities[S ~string | ~[]byte](path S) (peculiar Reading, ok bool) {
	if len(path) == 0 || len(path) == 1 && path[0] == '*' {
		return 0, true
	}
	if path[0] != '/' {
		return 0, false
	}
	const other = 3 // the segment is neither empty, nor "." nor ".."
	dots := 0
	parameters, rawParameters := false, false
	for i := 1; i < len(path); {
		c, n := at(path, i)
		if n == 0 || c == 0 || n == 1 && neverRaw(c) {
			return 0, false
		}
		i += n
		switch {
		case c == '/' || c == '\\':
			// Servers disagree whether an encoded slash ends raw parameters.
			if dots == 1 || dots == 2 || n == 3 && rawParameters {
				return 0, false
			}
			if dots == 0 {
				peculiar |= mergesSlashes
			}
			if c == '\\' {
				peculiar |= turnsBackslashes
			} else if n == 3 {
				peculiar |= decodesSlashes
			}
			dots, parameters, rawParameters = 0, false, false
		case c == ';' && n == 1:
			peculiar |= cutsParameters
			parameters, rawParameters = true, true
		case c == ';':
			peculiar |= cutsDecoded
			parameters = true
		case parameters:
		case c == '.' && dots < other:
			dots++
		default:
			dots = other
		}
	}
	return peculiar, dots != 1 && dots != 2
}

// HasNewline reports whether a path that Peculiarities accepted has an encoded newline.
func HasNewline[S ~string | ~[]byte](path S) bool {
	for i := 0; i+2 < len(path); i++ {
		if path[i] == '%' && path[i+1] == '0' && path[i+2]|0x20 == 'a' {
			return true
		}
	}
	return false
}

// neverRaw reports whether RFC 9112 section 3.2 forbids c in a target, or
// servers disagree about it.
func neverRaw(c byte) bool { return c <= ' ' || c == 0x7f || c == '#' || c == '\\' }

// at returns the decoded byte at path[i:] and how many bytes encode it: 1, 3 if
// it is percent-encoded, or 0 if the encoding is broken.
func at[S ~string | ~[]byte](path S, i int) (c byte, n int) {
	if path[i] != '%' {
		return path[i], 1
	}
	if i+2 >= len(path) {
		return 0, 0
	}
	high, low := unhex(path[i+1]), unhex(path[i+2])
	if high > 15 || low > 15 {
		return 0, 0
	}
	return high<<4 | low, 3
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// decode resolves the percent-encodings of a path that Peculiarities accepted.
func decode(path string) string {
	decoded := make([]byte, 0, len(path))
	for i := 0; i < len(path); {
		c, n := at(path, i)
		decoded = append(decoded, c)
		i += n
	}
	return string(decoded)
}

// MatchPath reports whether p is a prefix of a path that Peculiarities
// accepted, up to a segment border, under one reading of that path.
func MatchPath[S ~string | ~[]byte](p Path, path S, as Reading) bool {
	rule := p.decoded
	if rule == "" {
		return true
	}
	r := reader[S]{rest: path, as: as}
	for i := range len(rule) {
		if c, ok := r.next(); !ok || c != rule[i] {
			return false
		}
	}
	c, ok := r.next()
	return !ok || c == '/'
}

// reader yields the bytes of a path that Peculiarities accepted, decoded under
// one reading.
type reader[S ~string | ~[]byte] struct {
	rest       S
	as         Reading
	afterSlash bool
}

// opaque stands for an encoded slash that isn't read as a slash. No pattern
// contains it, since Peculiarities refuses NUL.
const opaque = 0

func (r *reader[S]) next() (c byte, ok bool) {
	for len(r.rest) > 0 {
		c, n := r.take()
		if r.isParameter(c, n) {
			r.skipToSlash()
			continue
		}
		slash := r.isSlash(c, n)
		if slash {
			if r.afterSlash && r.as&mergesSlashes != 0 {
				continue
			}
			c = '/'
		} else if c == '/' {
			c = opaque
		}
		r.afterSlash = slash
		return c, true
	}
	return 0, false
}

func (r *reader[S]) take() (c byte, n int) {
	c, n = at(r.rest, 0)
	r.rest = r.rest[n:]
	return c, n
}

func (r *reader[S]) skipToSlash() {
	for len(r.rest) > 0 && !r.isSlash(at(r.rest, 0)) {
		r.take()
	}
}

func (r *reader[S]) isSlash(c byte, n int) bool {
	switch c {
	case '/':
		return n == 1 || r.as&decodesSlashes != 0
	case '\\':
		return r.as&turnsBackslashes != 0
	}
	return false
}

func (r *reader[S]) isParameter(c byte, n int) bool {
	return c == ';' && (n == 1 && r.as&cutsParameters != 0 || n == 3 && r.as&cutsDecoded != 0)
}
