package requestkey

import "bytes"

// SetCookie returns the value in a Set-Cookie field, if that sets the cookie of that name
// and the value isn't empty. It is as NextCookie will find it in requests: quotes are part
// of it (RFC 6265 §5.2).
func SetCookie(field []byte, name string) (value []byte, ok bool) {
	pair, _, _ := bytes.Cut(field, []byte{';'})
	got, value, ok := bytes.Cut(pair, []byte{'='})
	if value = trim(value); !ok || len(value) == 0 || string(trim(got)) != name {
		return nil, false
	}
	return value, true
}

// InAnswer calls found with each value of the part in an answer's fields, at most with
// maxInAnswer. header is as Request.Header. The part is one of ParseAnswer.
func (p Part) InAnswer(header func(name string, i int) ([]byte, bool), found func(value []byte)) {
	const maxInAnswer = 8
	name := p.name
	if p.kind == cookie {
		name = "set-cookie"
	}
	for i, n := 0, 0; n < maxInAnswer; i++ {
		value, ok := header(name, i)
		if !ok {
			return
		}
		if p.kind == cookie {
			value, ok = SetCookie(value, p.name)
		}
		if ok && len(value) > 0 {
			found(value)
			n++
		}
	}
}
