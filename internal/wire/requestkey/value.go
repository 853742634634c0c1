package requestkey

import "bytes"

// value is a part's value as received.
type value struct {
	raw    []byte
	text   string // a claim's, which is not encoded; instead of raw
	coding coding
}

func (v value) isEmpty() bool { return len(v.raw) == 0 && v.text == "" }

// coding says which different bytes mean the same.
type coding uint8

const (
	plain   coding = iota
	percent        // RFC 3986 §2.1
	form           // application/x-www-form-urlencoded: "+" is a space, too
	list           // comma-separated, RFC 9110 §5.6.1
	target         // the path, which the query follows
)

// hash writes the decoded value of v, which was found in r, to d.
func (v value) hash(d *digest, r Request) {
	switch {
	case v.text != "":
		d.writeString(v.text)
	case v.coding == list:
		hashSubprotocols(d, r)
	case v.coding == target:
		d.write(v.raw)
		if query := queryOf(r); len(query) > 0 {
			d.write([]byte{'?'})
			d.write(query)
		}
	case v.coding == plain, bytes.IndexByte(v.raw, '%') < 0 && (v.coding == percent || bytes.IndexByte(v.raw, '+') < 0):
		d.write(v.raw)
	default:
		var buf [64]byte
		for raw := v.raw; len(raw) > 0; {
			n := 0
			for n < len(buf) && len(raw) > 0 {
				buf[n], raw = v.coding.next(raw)
				n++
			}
			d.write(buf[:n])
		}
	}
}

// queryOf is the query without its question mark.
func queryOf(r Request) []byte { return bytes.TrimPrefix(r.Query(), []byte{'?'}) }

// hashSubprotocols writes the subprotocols of all fields, which form one list, separated
// by commas.
func hashSubprotocols(d *digest, r Request) {
	written := false
	for i := 0; ; i++ {
		members, ok := r.Header(fieldSubprotocol, i)
		if !ok {
			return
		}
		for member, rest := nextMember(members); member != nil; member, rest = nextMember(rest) {
			if written {
				d.write([]byte{','})
			}
			d.write(member)
			written = true
		}
	}
}

// next decodes the first byte of raw, which is not empty. A percent sign that isn't
// followed by two hexadecimal digits stands for itself, as in browsers.
func (k coding) next(raw []byte) (c byte, rest []byte) {
	c = raw[0]
	switch {
	case c == '+' && k == form:
		c = ' '
	case c == '%' && len(raw) > 2:
		hi, lo := hexDigit(raw[1]), hexDigit(raw[2])
		if hi >= 0 && lo >= 0 {
			return byte(hi<<4 | lo), raw[3:]
		}
	}
	return c, raw[1:]
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// parameter returns the value of the first parameter of that name, still encoded, and
// the query after it. The value is empty if there is only a name. The name must not
// contain separators, and the query has no question mark.
func parameter(query []byte, name string) (raw, after []byte, ok bool) {
	for {
		rest, same := cutName(query, name)
		end := bytes.IndexByte(rest, '&')
		if same && (len(rest) == 0 || end == 0) {
			return nil, rest[min(1, len(rest)):], true
		}
		if same && rest[0] == '=' {
			raw, after, _ = bytes.Cut(rest[1:], []byte{'&'})
			return raw, after, true
		}
		if end < 0 {
			return nil, nil, false
		}
		query = rest[end+1:]
	}
}

// cutName cuts name off the start of a query, or as much of it as is equal.
func cutName(query []byte, name string) (rest []byte, same bool) {
	for i := range len(name) {
		if len(query) == 0 {
			return nil, false
		}
		c, next := form.next(query)
		if c != name[i] {
			return query, false
		}
		query = next
	}
	return query, true
}

// nextMember cuts the first member off a comma-separated list of tokens; nil at its end.
// It skips empty members.
func nextMember(members []byte) (member, rest []byte) {
	for len(members) > 0 {
		member, members, _ = bytes.Cut(members, []byte{','})
		if member = trim(member); len(member) > 0 {
			return member, members
		}
	}
	return nil, nil
}

// afterPrefix returns the rest of the first member that begins with prefix and is longer.
func afterPrefix(members []byte, prefix string) ([]byte, bool) {
	for member, rest := nextMember(members); member != nil; member, rest = nextMember(rest) {
		if len(member) > len(prefix) && string(member[:len(prefix)]) == prefix {
			return member[len(prefix):], true
		}
	}
	return nil, false
}

// trim cuts optional whitespace (OWS, RFC 9110 §5.6.3) off both ends.
func trim(b []byte) []byte {
	b = trimLeft(b)
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// Append appends the value of the part, decoded. It reports false if r doesn't have the
// part. What is appended may have any bytes in it. Several subprotocols are separated by
// commas, and client_ip is 4 or 8 bytes.
func (p Part) Append(dst []byte, r Request) ([]byte, bool) {
	var buf addrBuf
	v, ok := p.find(r, &buf)
	switch v.coding {
	case list:
		return appendSubprotocols(dst, r), ok
	case target:
		if v.isEmpty() {
			return dst, ok // no path, so no URI
		}
		dst = append(dst, v.raw...)
		if query := queryOf(r); len(query) > 0 {
			dst = append(append(dst, '?'), query...)
		}
		return dst, ok
	}
	return v.append(dst), ok
}

func appendSubprotocols(dst []byte, r Request) []byte {
	begin := len(dst)
	for i := 0; ; i++ {
		members, ok := r.Header(fieldSubprotocol, i)
		if !ok {
			return dst
		}
		for member, rest := nextMember(members); member != nil; member, rest = nextMember(rest) {
			if len(dst) > begin {
				dst = append(dst, ',')
			}
			dst = append(dst, member...)
		}
	}
}

// append appends the decoded value.
func (v value) append(dst []byte) []byte {
	if v.coding == plain {
		return append(append(dst, v.raw...), v.text...)
	}
	for raw := v.raw; len(raw) > 0; {
		var c byte
		c, raw = v.coding.next(raw)
		dst = append(dst, c)
	}
	return dst
}

// Parameter returns the value of the next parameter of that name in a query without its
// question mark, decoded as a form, and the query after it. ok is false if there is none.
// dst is room for decoding; value is a slice of it or of query, or allocated if neither
// has it. CheckParameter must accept the name.
func Parameter(dst, query []byte, name string) (decoded, rest []byte, ok bool) {
	raw, rest, ok := parameter(query, name)
	if bytes.IndexByte(raw, '%') < 0 && bytes.IndexByte(raw, '+') < 0 {
		return raw, rest, ok
	}
	return value{raw: raw, coding: form}.append(dst[:0]), rest, ok
}
