package httphead

import "bytes"

// Request is the head of a request. It is large and meant to be reused; its slices point
// into the bytes parsed last. It must not be copied, since Fields points into it.
type Request struct {
	Method []byte
	Target []byte // as received
	Minor  int    // of HTTP/1.Minor: 0, or 1 for that and all above

	// Host is the requested host, with its port if there is one. It is from the
	// target if that is a URL, which takes precedence over the Host field (RFC 9112
	// §3.2.2). It is valid by ValidHost, and nil only in HTTP/1.0.
	Host []byte
	// Path is the target's path as received, with its percent-encodings. It starts
	// with "/", or is the "*" of OPTIONS.
	Path []byte
	// Query is the target's query with its "?"; empty if there is none.
	Query []byte

	Fields Fields

	// ContentLength is -1 if there is no Content-Length. The request has a body if
	// it is above 0 or Chunked is set (RFC 9112 §6.3).
	ContentLength int64
	Chunked       bool

	fields [MaxFields]Field
}

var rootPath = []byte("/")

// Parse parses the request head that b starts with. It returns the head's length,
// including the empty line; 0 without an error if b is incomplete; or a *SyntaxError. r
// is valid only if the length is above 0. No state is kept between calls.
func (r *Request) Parse(b []byte) (n int, err error) {
	start := emptyLines(b)
	if err := otherProtocol(b[start:]); err != nil {
		return 0, err
	}
	line, next, err := nextLine(b, start)
	if err != nil {
		return 0, err
	}
	if next == 0 {
		return 0, checkStart(b[start:])
	}
	if err := r.parseLine(line); err != nil {
		return 0, err
	}
	var k fieldBlock
	n, err = k.parse(b, next, r.fields[:], r.Minor)
	if n == 0 {
		return 0, err
	}
	if k.host == nil && r.Minor > 0 {
		return 0, errHostMissing
	}
	if k.host != nil && !ValidHost(k.host) {
		return 0, errHost
	}
	if r.Host == nil {
		r.Host = k.host
	}
	r.Fields, r.ContentLength, r.Chunked = k.fields, k.length, k.chunked
	return n, nil
}

// emptyLines returns the length of the empty lines that b starts with. Some clients send
// one after the body of the previous request (RFC 9112 §2.2).
func emptyLines(b []byte) (n int) {
	for len(b) >= n+2 && b[n] == '\r' && b[n+1] == '\n' {
		n += 2
	}
	return n
}

// otherProtocol rejects the beginning of other protocols, with an error that says what is
// probably configured wrong.
func otherProtocol(b []byte) error {
	const handshake = 22 // a record of TLS 1.0 to 1.3 (RFC 8446 §5.1)
	switch {
	case len(b) > 0 && b[0] == handshake:
		return errTLS
	case bytes.HasPrefix(b, []byte("PROXY ")), bytes.HasPrefix(b, []byte("\x00\r\nQUIT\n")):
		return errProxyProtocol // version 2 begins with two empty lines
	case bytes.HasPrefix(b, []byte("PRI * HTTP/2.0\r\n")):
		return errHTTP2
	}
	return nil
}

// checkStart rejects what can't become a request line, so that garbage is distinguished
// from a slow client at once.
func checkStart(b []byte) error {
	if method, _, _ := bytes.Cut(b, []byte{' '}); len(b) > 0 && string(b) != "\r" && !IsToken(method) {
		return errMethod
	}
	return nil
}

func (r *Request) parseLine(line []byte) error {
	first := bytes.IndexByte(line, ' ')
	last := bytes.LastIndexByte(line, ' ')
	if first < 0 || first == last {
		return errRequestLine
	}
	if r.Method = line[:first]; !IsToken(r.Method) {
		return errMethod
	}
	var err error
	if r.Minor, err = parseVersion(line[last+1:]); err != nil {
		return err
	}
	r.Target = line[first+1 : last]
	return r.parseTarget()
}

// parseTarget parses origin-form, absolute-form and, with OPTIONS, asterisk-form (RFC
// 9112 §3.2).
func (r *Request) parseTarget() error {
	t := r.Target
	r.Host, r.Path, r.Query = nil, nil, nil
	if string(r.Method) == "CONNECT" {
		return errConnect
	}
	if len(t) == 0 {
		return errRequestLine
	}
	if !all(t, targetByte) {
		return errTargetByte
	}
	if t[0] == '*' {
		if len(t) > 1 || string(r.Method) != "OPTIONS" {
			return errTarget
		}
		r.Path = t
		return nil
	}
	absolute := t[0] != '/'
	if absolute {
		authority, ok := cutScheme(t)
		if !ok {
			return errTarget
		}
		end := bytes.IndexAny(authority, "/?")
		if end < 0 {
			end = len(authority)
		}
		r.Host, t = authority[:end], authority[end:]
		if !ValidHost(r.Host) {
			return errHost
		}
	}
	r.Path = t
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		r.Path, r.Query = t[:i], t[i:]
	}
	if absolute && len(r.Path) == 0 {
		r.Path = rootPath
	}
	if !validEscapes(r.Path) {
		return errTargetEscape
	}
	return nil
}

// cutScheme cuts off the schemes that are served. RFC 6455 §4.1 uses http and https in a
// handshake's target, but clients have ws or wss URLs (§3), and these are unambiguous.
func cutScheme(t []byte) (rest []byte, ok bool) {
	for _, scheme := range [...]string{"http://", "https://", "ws://", "wss://"} {
		if n := len(scheme); len(t) > n && EqualFold(t[:n], scheme) {
			return t[n:], true
		}
	}
	return nil, false
}

// validEscapes checks percent-encodings. Those of the query are left to the server: they
// don't affect routing, and many clients leave them out there.
func validEscapes(path []byte) bool {
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return true
		}
		if path = path[i+1:]; len(path) < 2 || !all(path[:2], hexByte) {
			return false
		}
	}
}
