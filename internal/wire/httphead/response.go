package httphead

// Response is the head of a response. As with Request, its slices point into the bytes
// parsed last, and it must not be copied.
type Response struct {
	Status int // 100 to 999
	Minor  int // of HTTP/1.Minor: 0, or 1 for that and all above
	Reason []byte
	Fields Fields

	// ContentLength is -1 if there is no Content-Length. Whether there is a body
	// depends on the status, too (RFC 9112 §6.3).
	ContentLength int64
	Chunked       bool

	fields [MaxFields]Field
}

// Parse parses the response head that b starts with. The results are as with
// Request.Parse.
func (r *Response) Parse(b []byte) (n int, err error) {
	line, next, err := nextLine(b, 0)
	if err != nil {
		return 0, err
	}
	if next == 0 {
		const start = "HTTP/1."
		if n := min(len(b), len(start)); string(b[:n]) != start[:n] {
			return 0, errStatusLine
		}
		return 0, nil
	}
	if err := r.parseLine(line); err != nil {
		return 0, err
	}
	var k fieldBlock
	n, err = k.parse(b, next, r.fields[:], r.Minor)
	if n == 0 {
		return 0, err
	}
	r.Fields, r.ContentLength, r.Chunked = k.fields, k.length, k.chunked
	return n, nil
}

// parseLine parses "HTTP/1.1 101 Switching Protocols". The space before an empty reason
// may be missing, as with many servers.
func (r *Response) parseLine(line []byte) error {
	const version, code = len("HTTP/1.1"), len("HTTP/1.1 101")
	if len(line) < code || line[version] != ' ' || len(line) > code && line[code] != ' ' {
		return errStatusLine
	}
	var err error
	if r.Minor, err = parseVersion(line[:version]); err != nil {
		return err
	}
	status, ok := number(line[version+1 : code])
	if !ok || status < 100 {
		return errStatus
	}
	r.Status, r.Reason = int(status), line[min(len(line), code+1):]
	if !all(r.Reason, valueByte) {
		return errReason
	}
	return nil
}
