// Package claims has what a verified token says about a client: claims, which have a
// name and a value. Any part of the balancer may look them up by name.
package claims

import (
	"encoding/binary"
	"iter"
	"slices"
)

// Claims are the claims of one token. A value is text: a number as it was written, true
// or false, or the items of a list, joined by commas. A claim inside another one has
// their names joined by dots: realm_access.roles.
//
// They are one string, so that they cost one allocation and can be kept with a session.
// "" has none. Names and values are valid UTF-8 and otherwise whatever the issuer wrote:
// they must be escaped in logs, and checked before they go into a header field.
type Claims string

// Get returns the value of a claim. It doesn't allocate.
func (c Claims) Get(name string) (value string, ok bool) {
	for n, v := range c.All() {
		if n == name {
			return v, true
		}
	}
	return "", false
}

// All yields names and values, in the order in which they were added.
func (c Claims) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for rest := string(c); rest != ""; {
			var name, value string
			name, rest = next(rest)
			value, rest = next(rest)
			if !yield(name, value) {
				return
			}
		}
	}
}

// Only returns those of c that have one of the names, in the order of the names.
func (c Claims) Only(names []string) Claims {
	var b []byte
	for i, name := range names {
		if value, ok := c.Get(name); ok && !slices.Contains(names[:i], name) {
			b = Append(b, name, value)
		}
	}
	return Claims(b)
}

// Append appends a claim to b, the bytes of Claims. The caller makes sure that no name
// comes twice.
func Append(b []byte, name, value string) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// next cuts off the first text.
func next(s string) (text, rest string) {
	n, shift := 0, 0
	for i := range len(s) {
		n |= int(s[i]&0x7f) << shift
		if shift += 7; s[i] < 0x80 {
			rest = s[i+1:]
			break
		}
	}
	if n > len(rest) { // not made by Append
		return rest, ""
	}
	return rest[:n], rest[n:]
}
