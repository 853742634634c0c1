package requestkey

import (
	"errors"
	"fmt"
	"strings"
)

// Part is one part of a request: of a hash key, or a place to look for a token
// in. Parts that mean the same are equal. The zero Part is in no request.
type Part struct {
	kind kind
	name string // a header's in lower case; a prefix of subprotocols, or ""
}

type kind uint8

const (
	_ kind = iota
	clientIP
	path
	header
	query
	cookie
	subprotocol
)

var kinds = [...]string{clientIP: "client_ip", path: "path", header: "header", query: "query", cookie: "cookie", subprotocol: "subprotocol"}

// Parse reads a part of a hash key:
//
//	client_ip     the client's address; of an IPv6 address the first 64 bits
//	path          the path without the query, percent-decoded
//	header:NAME   the value of the first field of that name, whatever its case
//	query:NAME    the value of the first parameter of that name, decoded
//	cookie:NAME   the value of the first cookie of that name
//
// The error says what is wrong with s, and what to write.
func Parse(s string) (Part, error) {
	p, err := parse(s, "client_ip, path, header:NAME, query:NAME or cookie:NAME", clientIP, path, header, query, cookie)
	if err != nil {
		return Part{}, fmt.Errorf("bad key %q: %w", s, err)
	}
	return p, nil
}

// ParseToken reads a place to look for a token in: query:NAME, header:NAME or
// cookie:NAME as in Parse, or
//
//	subprotocol          all subprotocols that are offered, in their order
//	subprotocol:PREFIX   what follows PREFIX in the first that begins with it
//
// Subprotocols are all that a page can send along with a browser's WebSocket
// besides the URL. Looked at is the first Sec-WebSocket-Protocol field.
func ParseToken(s string) (Part, error) {
	p, err := parse(s, "query:NAME, header:NAME, cookie:NAME, subprotocol or subprotocol:PREFIX", header, query, cookie, subprotocol)
	if err != nil {
		return Part{}, fmt.Errorf("bad place of a token %q: %w", s, err)
	}
	return p, nil
}

func parse(s, choices string, allowed ...kind) (Part, error) {
	word, name, named := strings.Cut(s, ":")
	for _, k := range allowed {
		if kinds[k] == word {
			return k.part(name, named)
		}
	}
	return Part{}, errors.New("want " + choices)
}

// part makes a part of a kind and what follows its colon.
func (k kind) part(name string, named bool) (Part, error) {
	const tokenChars = "only letters, digits and !#$%&'*+-.^_`|~ can stand in it"
	switch k {
	case clientIP, path:
		if named {
			return Part{}, fmt.Errorf("write %s alone, there is only one", kinds[k])
		}
	case subprotocol:
		if named && !IsToken(name) {
			return Part{}, fmt.Errorf("%q is no prefix of a subprotocol: %s; for the whole of them write subprotocol alone", name, tokenChars)
		}
	case query:
		if name == "" || strings.ContainsFunc(name, notInParameter) {
			return Part{}, fmt.Errorf("%q is no name of a parameter: write it as it is once decoded, and neither spaces nor any of %%&=+#; can stand in it", name)
		}
	case header, cookie:
		if !IsToken(name) {
			return Part{}, fmt.Errorf("%q is no name of a %s: %s", name, kinds[k], tokenChars)
		}
		if k == header {
			name = strings.ToLower(name)
		}
	}
	return Part{k, name}, nil
}

// notInParameter refuses in the name of a parameter what could be meant encoded.
func notInParameter(r rune) bool {
	return r <= ' ' || r == 0x7f || r == '\uFFFD' || strings.ContainsRune("%&=+#;", r)
}

// String is what Parse or ParseToken makes the part of again.
func (p Part) String() string {
	if p.name == "" {
		return kinds[p.kind]
	}
	return kinds[p.kind] + ":" + p.name
}

// IsToken tells whether s is a token (RFC 9110 §5.6.2), which the names of
// header fields, of cookies (RFC 6265 §4.1.1) and subprotocols must be.
func IsToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z') && !('0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// find looks for the part in r. The value lives as long as r and buf do.
func (p Part) find(r Request, buf *addrBuf) (v value, ok bool) {
	switch p.kind {
	case clientIP:
		v.raw = buf.set(r.ClientIP())
		return v, v.raw != nil
	case path:
		return value{r.Path(), percent}, true
	case header:
		v.raw, ok = r.Header(p.name)
	case query:
		v.coding = form
		v.raw, ok = parameter(r.Query(), p.name)
	case cookie:
		v.raw, ok = Cookie(r, p.name)
	case subprotocol:
		if v.raw, ok = r.Header("sec-websocket-protocol"); !ok {
			break
		}
		if p.name != "" {
			v.raw, ok = afterPrefix(v.raw, p.name)
			break
		}
		v.coding = list
		if first, _ := nextMember(v.raw); first == nil {
			v.raw = nil
		}
	}
	return v, ok
}
