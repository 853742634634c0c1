package httphead

import "bytes"

// Request is the head of a request. It is large and meant to be parsed into
// again and again; its slices point into the bytes parsed last. It must not be
// copied, as Fields points into it.
type Request struct {
	Method []byte
	Target []byte // as it came
	Minor  int    // of HTTP/1.Minor: 0 or 1

	// Host is the host, with its port where it has one, that the request is
	// for: from the target where that is a URL, which then wins over the Host
	// field (RFC 9112 §3.2.2). It is valid as ValidHost has it, and nil only
	// in HTTP/1.0.
	Host []byte
	// Path is the target's path as it came, percent-encodings untouched. It
	// starts with "/", or is the "*" of OPTIONS.
	Path []byte
	// Query is the target's query with its "?", empty where there is none.
	Query []byte

	Fields Fields

	// ContentLength is -1 where there is no Content-Length. The request has a
	// body if it is above 0 or Chunked is set (RFC 9112 §6.3).
	ContentLength int64
	Chunked       bool

	fields [MaxFields]Field
}

var rootPath = []byte("/")

// Parse reads the request head that b starts with. It returns the head's
// length, the empty line included; 0 and no error while b is a possible
// beginning of one; or a *SyntaxError. Only a length above 0 makes r valid.
// It keeps no state between calls.
func (r *Request) Parse(b []byte) (n int, err error) {
	line, next, err := nextLine(b, 0)
	if err != nil {
		return 0, err
	}
	if next == 0 {
		return 0, checkStart(b)
	}
	if err := r.parseLine(line); err != nil {
		return 0, err
	}
	var k block
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

// checkStart refuses what cannot become a request line, so that a TLS hello on
// a plain port is told from a slow client at once.
func checkStart(b []byte) error {
	if method, _, _ := bytes.Cut(b, []byte{' '}); len(b) > 0 && !IsToken(method) {
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
	var ok bool
	if r.Method = line[:first]; !IsToken(r.Method) {
		return errMethod
	}
	if r.Minor, ok = parseVersion(line[last+1:]); !ok {
		return errVersion
	}
	r.Target = line[first+1 : last]
	return r.parseTarget()
}

// parseTarget reads origin-form, absolute-form and, with OPTIONS,
// asterisk-form (RFC 9112 §3.2).
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

func cutScheme(t []byte) (rest []byte, ok bool) {
	if n := len("http://"); len(t) > n && EqualFold(t[:n], "http://") {
		return t[n:], true
	}
	if n := len("https://"); len(t) > n && EqualFold(t[:n], "https://") {
		return t[n:], true
	}
	return nil, false
}

// validEscapes checks percent-encodings. Those of the query are left to the
// server: they are not routed on, and half the web leaves them out there.
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
