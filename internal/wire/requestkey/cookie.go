package requestkey

import "bytes"

// Cookie returns the value of the first cookie of that name as received, including any
// quotes. If a client has several of a name, it sends the one with the longest path first
// (RFC 6265 §5.4). Names are case-sensitive.
//
// It looks at all Cookie fields. HTTP/1.1 has one, but HTTP/2 may have one for each
// cookie, and not every proxy joins them as it should (RFC 9113 §8.2.3).
func Cookie(r Request, name string) ([]byte, bool) {
	for i := 0; ; i++ {
		cookies, ok := r.Header("cookie", i)
		if !ok {
			return nil, false
		}
		if value, _, ok := NextCookie(cookies, name); ok {
			return value, true
		}
	}
}

// NextCookie finds the first cookie of that name, a token, in the value of a Cookie
// field. It returns the cookie's value, and the rest of the field after it.
//
// It parses like servers, not like RFC 6265 §4.2.1: whatever is between semicolons is a
// cookie if it has an equals sign, spaces around name and value are ignored, and quotes
// are part of the value and protect nothing.
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
