// Package httphead parses the head of an HTTP/1 message: the start line and
// the header fields up to the empty line (RFC 9112 §2.1). It is strict, works
// on bytes the caller holds, and allocates nothing.
//
// A balancer and the server behind it must never read one message in two ways,
// so whatever leaves room for that is refused rather than repaired: bare LF,
// folded lines, space before a colon, control bytes, a second Host or
// Content-Length, Content-Length beside Transfer-Encoding. What is accepted is
// a subset of what net/http accepts, and it is read the same way; the fuzz
// targets hold the package to that.
package httphead

import "bytes"

// MaxFields is how many header fields a head may have.
const MaxFields = 100

// A SyntaxError says why a head was refused.
type SyntaxError struct {
	// Reason is a phrase in plain words, without the offending bytes.
	Reason string
}

func (e *SyntaxError) Error() string { return "malformed HTTP head: " + e.Reason }

// ErrTooManyFields is returned for a head with more than MaxFields fields.
var ErrTooManyFields error = &SyntaxError{"more than 100 header fields"}

// Made once, so that refusing costs no allocation either.
var (
	errBareLF         = &SyntaxError{"a line does not end with CR LF"}
	errMethod         = &SyntaxError{"the method is not a token"}
	errConnect        = &SyntaxError{"CONNECT is not served"}
	errRequestLine    = &SyntaxError{"the request line is not \"METHOD target HTTP/1.1\""}
	errTarget         = &SyntaxError{"the request target is neither a path nor an http:// or https:// URL"}
	errTargetByte     = &SyntaxError{"the request target has a byte that must be percent-encoded"}
	errTargetEscape   = &SyntaxError{"the path has a % that is not followed by two hex digits"}
	errVersion        = &SyntaxError{"the version is neither HTTP/1.1 nor HTTP/1.0"}
	errFold           = &SyntaxError{"a header field is folded over several lines"}
	errFieldName      = &SyntaxError{"a header field's name is not a token followed by a colon"}
	errFieldValue     = &SyntaxError{"a header field's value has a control byte"}
	errHostMissing    = &SyntaxError{"the Host header field is missing"}
	errHostTwice      = &SyntaxError{"there is more than one Host header field"}
	errHost           = &SyntaxError{"the host is not a name or address with an optional port"}
	errLength         = &SyntaxError{"Content-Length is not a number"}
	errLengthTwice    = &SyntaxError{"there is more than one Content-Length header field"}
	errLengthEncoding = &SyntaxError{"Content-Length and Transfer-Encoding are both there"}
	errEncoding       = &SyntaxError{"Transfer-Encoding is not \"chunked\", given once, in HTTP/1.1"}
	errTrailer        = &SyntaxError{"Trailer is not a list of names that are allowed there"}
	errStatusLine     = &SyntaxError{"the status line is not \"HTTP/1.1 code reason\""}
	errStatus         = &SyntaxError{"the status code is not a number from 100 to 999"}
	errReason         = &SyntaxError{"the reason phrase has a control byte"}
)

var endOfHead = []byte("\r\n\r\n")

// EndOfHead returns the length of the head that b starts with, the empty line
// included, or -1 while it is incomplete. The caller says how many bytes it has
// looked at before, so that a head that arrives in n pieces is scanned once and
// not n times. Where it finds an end, Parse does not ask for more.
func EndOfHead(b []byte, seen int) int {
	from := max(0, seen-len(endOfHead)+1)
	i := bytes.Index(b[from:], endOfHead)
	if i < 0 {
		return -1
	}
	return from + i + len(endOfHead)
}

// nextLine cuts the line that starts at b[from:]: line excludes its CR LF, next
// is where the following one starts, 0 when the line is incomplete.
func nextLine(b []byte, from int) (line []byte, next int, err error) {
	i := bytes.IndexByte(b[from:], '\n')
	if i < 0 {
		return nil, 0, nil
	}
	if i == 0 || b[from+i-1] != '\r' {
		return nil, 0, errBareLF
	}
	return b[from : from+i-1], from + i + 1, nil
}

// parseVersion reads "HTTP/1.0" or "HTTP/1.1".
func parseVersion(b []byte) (minor int, ok bool) {
	if len(b) != 8 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' {
		return 0, false
	}
	return int(b[7] - '0'), true
}
