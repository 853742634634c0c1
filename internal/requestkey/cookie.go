package requestkey

import "bytes"

// Cookie returns the value of the first cookie of that name as it came, with
// its quotes if it has any. Where a client has several of a name, that with the
// longest path comes first (RFC 6265 §5.4). Names are compared with their case.
func Cookie(r Request, name string) ([]byte, bool) {
	cookies, ok := r.Header("cookie")
	if !ok {
		return nil, false
	}
	value, _, ok := NextCookie(cookies, name)
	return value, ok
}

// NextCookie finds the first cookie of that name, a token, in the value of a
// Cookie field. It returns its value, and the rest of the field, where more of
// them may be.
//
// It reads as servers do, not as RFC 6265 §4.2.1 has clients write: whatever
// stands between semicolons is a cookie if it has an equals sign, spaces around
// name and value don't count, and quotes are part of a value and protect none.
func NextCookie(cookies []byte, name string) (value, rest []byte, ok bool) {
	for {
		cookies = trimLeft(cookies)
		if len(cookies) > len(name) && string(cookies[:len(name)]) == name {
			if after := trimLeft(cookies[len(name):]); len(after) > 0 && after[0] == '=' {
				value, rest, _ = bytes.Cut(after[1:], []byte{';'})
				return trim(value), rest, true
			}
		}
		end := bytes.IndexByte(cookies, ';')
		if end < 0 {
			return nil, nil, false
		}
		cookies = cookies[end+1:]
	}
}
