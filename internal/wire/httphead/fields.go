package httphead

import "iter"

// Field is a header field. Name is a token, in the case received; Value has no
// surrounding whitespace and no control bytes. Both point into the parsed bytes.
type Field struct{ Name, Value []byte }

// Fields are the header fields of a head, in order.
type Fields []Field

// Get returns the value of the first field of that name.
func (f Fields) Get(name string) (value []byte, ok bool) {
	for i := range f {
		if EqualFold(f[i].Name, name) {
			return f[i].Value, true
		}
	}
	return nil, false
}

// At returns the value of the i-th field of that name, counted from 0.
func (f Fields) At(name string, i int) (value []byte, ok bool) {
	for j := range f {
		if EqualFold(f[j].Name, name) {
			if i == 0 {
				return f[j].Value, true
			}
			i--
		}
	}
	return nil, false
}

// Values returns the values of all fields of that name, in order.
func (f Fields) Values(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range f {
			if EqualFold(f[i].Name, name) && !yield(f[i].Value) {
				return
			}
		}
	}
}

// Count returns the number of fields of that name.
func (f Fields) Count(name string) (n int) {
	for i := range f {
		if EqualFold(f[i].Name, name) {
			n++
		}
	}
	return n
}

// HasToken reports whether token, in any case, is a member of the comma-separated list
// that the fields of that name form together (RFC 9110 §5.6.1).
func (f Fields) HasToken(name, token string) bool {
	for i := range f {
		if !EqualFold(f[i].Name, name) {
			continue
		}
		for member, rest := NextMember(f[i].Value); member != nil; member, rest = NextMember(rest) {
			if EqualFold(member, token) {
				return true
			}
		}
	}
	return false
}

// NextMember cuts the first member off a comma-separated list; nil at its end. It skips
// empty members (RFC 9110 §5.6.1.2). A comma in a quoted string doesn't separate, and a
// quoted string that isn't closed extends to the end.
func NextMember(list []byte) (member, rest []byte) {
	for len(list) > 0 && (list[0] == ',' || isSpace(list[0])) {
		list = list[1:]
	}
	if len(list) == 0 {
		return nil, nil
	}
	end, quoted := 0, false
	for ; end < len(list); end++ {
		switch c := list[end]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			end++
		case c == ',' && !quoted:
			return TrimSpace(list[:end]), list[end+1:]
		}
	}
	return TrimSpace(list), nil
}

// fieldBlock is the fields of a head that is being parsed, with what they say about the
// message's length.
type fieldBlock struct {
	fields  []Field
	host    []byte // the only Host field, nil if there is none
	length  int64  // Content-Length, -1 if there is none
	chunked bool
}

// parse parses fields from b[from:] into fields, up to the empty line. It returns the
// length of the head, 0 while that is incomplete.
func (k *fieldBlock) parse(b []byte, from int, fields []Field, minor int) (int, error) {
	k.length = -1
	n, trailer := 0, false
	for {
		line, next, err := nextLine(b, from)
		if next == 0 {
			return 0, err
		}
		if len(line) == 0 {
			from = next
			break
		}
		if n == len(fields) {
			return 0, ErrTooManyFields
		}
		field := &fields[n]
		if err := field.parse(line); err != nil {
			return 0, err
		}
		n++
		from = next
		switch len(field.Name) {
		case len("host"):
			if EqualFold(field.Name, "host") {
				if k.host != nil {
					return 0, errHostTwice
				}
				k.host = field.Value
			}
		case len("trailer"):
			trailer = trailer || EqualFold(field.Name, "trailer")
		case len("content-length"):
			if EqualFold(field.Name, "content-length") {
				if k.length >= 0 {
					return 0, errLengthTwice
				}
				var ok bool
				if k.length, ok = number(field.Value); !ok {
					return 0, errLength
				}
			}
		case len("transfer-encoding"):
			if EqualFold(field.Name, "transfer-encoding") {
				// RFC 9112 §6.1: in HTTP/1.0 the framing is faulty, and with an
				// unknown coding the length is unknown.
				if k.chunked || minor == 0 {
					return 0, errEncoding
				}
				if !EqualFold(field.Value, "chunked") {
					return 0, errCoding
				}
				k.chunked = true
			}
		}
	}
	if k.chunked && k.length >= 0 {
		return 0, errLengthEncoding
	}
	k.fields = fields[:n]
	if trailer && !validTrailer(k.fields) {
		return 0, errTrailer
	}
	return from, nil
}

func (f *Field) parse(line []byte) error {
	if isSpace(line[0]) {
		return errFold
	}
	i := 0
	for i < len(line) && class[line[i]]&tokenByte != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return errFieldName
	}
	f.Name, f.Value = line[:i], TrimSpace(line[i+1:])
	if !all(f.Value, valueByte) {
		return errFieldValue
	}
	return nil
}

// validTrailer rejects a Trailer field that announces framing fields (RFC 9110 §6.5.1).
func validTrailer(fields Fields) bool {
	for list := range fields.Values("trailer") {
		for member, rest := NextMember(list); member != nil; member, rest = NextMember(rest) {
			if !IsToken(member) || EqualFold(member, "content-length") ||
				EqualFold(member, "transfer-encoding") || EqualFold(member, "trailer") {
				return false
			}
		}
	}
	return true
}

// IsField reports whether line, without its end, is a header field or trailer field.
func IsField(line []byte) bool {
	var f Field
	return len(line) > 0 && f.parse(line) == nil
}

// IsFieldValue reports whether b may be in a field's value: it has no control bytes
// except tabs.
func IsFieldValue(b []byte) bool { return all(b, valueByte) }
