// Package bearer finds the token of a client in a request, as RFC 6750 describes and as
// browsers can send it, and removes it from what a backend gets. It doesn't look into
// tokens.
package bearer

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Source is a place where a token may be. Sources that mean the same are equal.
type Source struct {
	kind kind
	name string // a header's in lower case
}

type kind uint8

const (
	_ kind = iota
	header
	query
	cookie
	subprotocol
)

var kinds = [...]string{header: "header", query: "query", cookie: "cookie", subprotocol: "subprotocol"}

// Authorization is the source that Parse reads "header:Authorization" as.
var Authorization = Source{header, "authorization"}

// Parse reads a source:
//
//	header:NAME       a header field; what follows "Bearer" in it, if there is such a word
//	query:NAME        a parameter of the query
//	cookie:NAME       a cookie
//	subprotocol:WORD  the subprotocol that follows WORD in the client's offer
//
// Authorization must have the scheme Bearer.
func Parse(s string) (Source, error) {
	word, name, _ := strings.Cut(s, ":")
	for k := header; k <= subprotocol; k++ {
		if kinds[k] != word {
			continue
		}
		part, err := requestkey.ParseToken(s)
		if err != nil {
			return Source{}, err
		}
		if k == subprotocol && name == "" {
			return Source{}, fmt.Errorf("bad source %s: the word before the token is missing, write for example subprotocol:bearer", hint.Quote(s))
		}
		_, name, _ := strings.Cut(part.String(), ":")
		return Source{k, name}, nil
	}
	return Source{}, fmt.Errorf("bad source %s: want header:NAME, query:NAME, cookie:NAME or subprotocol:WORD", hint.Quote(s))
}

// String returns the text that Parse reads as s.
func (s Source) String() string { return kinds[s.kind] + ":" + s.name }

// Subprotocol returns the word before a token among the subprotocols; "" for other
// sources.
func (s Source) Subprotocol() string {
	if s.kind != subprotocol {
		return ""
	}
	return s.name
}

// Request is the request that a token is looked for in. A requestkey.Request is one.
type Request interface {
	// Query is the query as received, with or without its question mark.
	Query() []byte
	// Header returns the value of the i-th field of that name, counted from 0. The
	// name is given in lower case. ok is false if there is none.
	Header(name string, i int) ([]byte, bool)
}

// ErrSeveral means that a source has more than one token. The balancer could verify one
// of them, and the backend use the other.
var ErrSeveral = errors.New("more than one token")

// Find returns the token of the first source that has one, and that source. The token is
// "" if there is none. An error is ErrSeveral.
func Find(sources []Source, r Request) (token string, at Source, err error) {
	for _, s := range sources {
		if token, err = s.find(r); token != "" || err != nil {
			return token, s, err
		}
	}
	return "", Source{}, nil
}

func (s Source) find(r Request) (token string, err error) {
	found := func(t []byte) {
		switch {
		case len(t) == 0:
		case token != "":
			err = ErrSeveral
		default:
			token = string(t)
		}
	}
	switch s.kind {
	case header:
		for value := range fields(r, s.name) {
			found(s.credentials(value))
		}
	case query:
		eachParameter(r.Query(), func(parameter []byte) {
			if name, value, _ := bytes.Cut(parameter, []byte{'='}); decoded(name) == s.name {
				found([]byte(decoded(value)))
			}
		})
	case cookie:
		for rest := range fields(r, "cookie") {
			for value, rest, ok := requestkey.NextCookie(rest, s.name); ok; value, rest, ok = requestkey.NextCookie(rest, s.name) {
				found(unquoted(value))
			}
		}
	case subprotocol:
		after := false
		for list := range fields(r, fieldSubprotocol) {
			for member := range members(list) {
				if after {
					found(member)
				}
				after = !after && string(member) == s.name
			}
		}
	}
	return token, err
}

const fieldSubprotocol = "sec-websocket-protocol"

// credentials is the token in the value of a header field.
func (s Source) credentials(value []byte) []byte {
	const scheme = "bearer"
	if len(value) > len(scheme) && bytes.EqualFold(value[:len(scheme)], []byte(scheme)) && value[len(scheme)] == ' ' {
		return bytes.Trim(value[len(scheme):], " ")
	}
	if s == Authorization {
		return nil // of another scheme
	}
	return value
}

// unquoted removes the quotes that a cookie's value may have (RFC 6265 section 4.1.1).
func unquoted(value []byte) []byte {
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		return value[1 : n-1]
	}
	return value
}

// decoded decodes a name or a value of a query. What isn't encoded correctly stands for
// itself.
func decoded(text []byte) string {
	if bytes.IndexByte(text, '%') < 0 && bytes.IndexByte(text, '+') < 0 {
		return string(text)
	}
	s, err := url.QueryUnescape(string(text))
	if err != nil {
		return string(text)
	}
	return s
}

// eachParameter calls f with each parameter of a query.
func eachParameter(query []byte, f func(parameter []byte)) {
	for parameter := range bytes.SplitSeq(bytes.TrimPrefix(query, []byte{'?'}), []byte{'&'}) {
		f(parameter)
	}
}

// fields yields the values of the fields of that name.
func fields(r Request, name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 0; ; i++ {
			if value, ok := r.Header(name, i); !ok || !yield(value) {
				return
			}
		}
	}
}

// members yields the members of a comma-separated list of tokens.
func members(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for part := range bytes.SplitSeq(list, []byte{','}) {
			if part = bytes.Trim(part, " \t"); len(part) > 0 && !yield(part) {
				return
			}
		}
	}
}
