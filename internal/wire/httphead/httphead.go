// Package httphead parses the head of an HTTP/1 message: the start line and the header
// fields up to the empty line (RFC 9112 §2.1). It is strict, works on the caller's
// bytes, and doesn't allocate. It doesn't read bodies.
//
// A balancer and the server behind it must never understand a message differently. So
// everything ambiguous is rejected rather than repaired: bare LF, folded lines, space
// before a colon, control bytes, a second Host or Content-Length, Content-Length with
// Transfer-Encoding. What is accepted is a subset of what net/http accepts, with the
// same meaning; the fuzz tests check that.
package httphead

import (
	"bytes"
	"net/http"
)

// MaxFields is how many header fields a head may have.
const MaxFields = 100

// A SyntaxError says why a head was rejected.
type SyntaxError struct {
	// Reason is a phrase without the offending bytes.
	Reason string
	// Status is the most fitting HTTP status; 0 means 400 (Bad Request).
	Status int
}

func (e *SyntaxError) Error() string { return "malformed HTTP head: " + e.Reason }

// ErrTooManyFields is returned for a head with more than MaxFields fields.
var ErrTooManyFields error = &SyntaxError{Reason: "more than 100 header fields"}

// Made once, so that rejecting doesn't allocate either.
var (
	errBareLF         = malformed("a line does not end with CR LF")
	errTLS            = malformed("it is the beginning of a TLS connection (https or wss), and this port takes plain http and ws")
	errProxyProtocol  = malformed("it begins with a header of the PROXY protocol, which is not spoken here")
	errHTTP2          = &SyntaxError{"it is the beginning of an HTTP/2 connection, and only HTTP/1.1 is spoken here", http.StatusHTTPVersionNotSupported}
	errMethod         = malformed("the method is not a token")
	errConnect        = &SyntaxError{"CONNECT is not served", http.StatusNotImplemented}
	errRequestLine    = malformed("the request line is not \"METHOD target HTTP/1.1\"")
	errTarget         = malformed("the request target is neither a path nor an http, https, ws or wss URL")
	errTargetByte     = malformed("the request target has a byte that must be percent-encoded")
	errTargetEscape   = malformed("the path has a % that is not followed by two hex digits")
	errVersion        = malformed("the version is not \"HTTP/\", a digit, a dot and a digit")
	errMajor          = &SyntaxError{"the version is neither HTTP/1.1 nor HTTP/1.0", http.StatusHTTPVersionNotSupported}
	errFold           = malformed("a header field is folded over several lines")
	errFieldName      = malformed("a header field's name is not a token followed by a colon")
	errFieldValue     = malformed("a header field's value has a control byte")
	errHostMissing    = malformed("the Host header field is missing")
	errHostTwice      = malformed("there is more than one Host header field")
	errHost           = malformed("the host is not a name or address with an optional port")
	errLength         = malformed("Content-Length is not a number")
	errLengthTwice    = malformed("there is more than one Content-Length header field")
	errLengthEncoding = malformed("Content-Length and Transfer-Encoding are both there")
	errEncoding       = malformed("Transfer-Encoding is in HTTP/1.0, or there twice")
	errCoding         = &SyntaxError{"the only Transfer-Encoding that is understood is \"chunked\"", http.StatusNotImplemented}
	errTrailer        = malformed("Trailer is not a list of names that are allowed there")
	errStatusLine     = malformed("the status line is not \"HTTP/1.1 code reason\"")
	errStatus         = malformed("the status code is not a number from 100 to 999")
	errReason         = malformed("the reason phrase has a control byte")
)

var endOfHead = []byte("\r\n\r\n")

// EndOfHead returns the length of the head that b starts with, including the empty line,
// or -1 while it is incomplete. seen is how many bytes the caller has searched before, so
// that a head that comes in n pieces is scanned once and not n times. After a length
// other than -1, Parse doesn't ask for more bytes unless b begins with empty lines.
func EndOfHead(b []byte, seen int) int {
	from := max(0, seen-len(endOfHead)+1)
	i := bytes.Index(b[from:], endOfHead)
	if i < 0 {
		return -1
	}
	return from + i + len(endOfHead)
}

// nextLine cuts off the line that starts at b[from:]: line is without its CR LF, next is
// the start of the following one, 0 if the line is incomplete.
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

func malformed(reason string) *SyntaxError { return &SyntaxError{Reason: reason} }

// parseVersion parses "HTTP/1.0" or "HTTP/1.1". A higher minor version counts as the
// highest known one (RFC 9110 §2.5).
func parseVersion(b []byte) (minor int, err error) {
	const digit, dot = 5, 6
	if len(b) != 8 || string(b[:digit]) != "HTTP/" || b[dot] != '.' || !isDigit(b[digit]) || !isDigit(b[dot+1]) {
		return 0, errVersion
	}
	if b[digit] != '1' {
		return 0, errMajor
	}
	return min(int(b[dot+1]-'0'), 1), nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
