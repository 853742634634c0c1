package auth

import (
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/wire/bearer"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Edits reports whether a backend gets another request than the client sent, apart from
// Fields.
func (g *Grant) Edits() bool { return g.strip || g.word != "" }

// EditFields returns the fields for the backend. The token is not in the offer of
// subprotocols, and with strip_token nowhere.
func (g *Grant) EditFields(fields httphead.Fields) httphead.Fields {
	if g.strip {
		return bearer.StripFields(g.sources, fields)
	}
	return bearer.StripOffer(g.sources, fields)
}

// EditQuery returns the query for the backend.
func (g *Grant) EditQuery(query []byte) []byte {
	if g.strip {
		return bearer.StripQuery(g.sources, query)
	}
	return query
}

// EditPlain is EditFields and EditQuery for a request of plain HTTP. It changes r, which
// is a shallow copy, and returns its target; before, that was target, in origin-form.
func (g *Grant) EditPlain(r *http.Request, target string) string {
	r.Header = r.Header.Clone()
	if !g.strip {
		bearer.StripHeaderOffer(g.sources, r.Header)
		return target
	}
	bearer.StripHeader(g.sources, r.Header)
	if path, query, ok := strings.Cut(target, "?"); ok {
		query = string(g.EditQuery([]byte("?" + query)))
		u := *r.URL
		u.RawQuery = strings.TrimPrefix(query, "?")
		r.URL, target = &u, path+query
	}
	return target
}

// Subprotocol is the word that the client has offered before its token. If the backend
// chooses no subprotocol, this is the answer: browsers close a connection on which none
// of those that they offered was chosen.
func (g *Grant) Subprotocol() string { return g.word }

// Reserved are the names of header fields that only the balancer may send to backends: of
// all routes, since the backends of one may serve others, too. nil has none.
type Reserved struct{ names []string }

// Add adds the names of a policy's fields. nil has none.
func (r *Reserved) Add(p *Policy) {
	add := func(name string) {
		if name = strings.ToLower(name); !slices.Contains(r.names, name) {
			r.names = append(r.names, name)
		}
	}
	if p == nil {
		return
	}
	if p.JWT != nil {
		for _, h := range p.JWT.o.Headers {
			add(h.Name)
		}
	}
	if p.Request != nil {
		for _, name := range p.Request.o.Copy {
			add(name)
		}
	}
}

// Some reports whether there are any.
func (r *Reserved) Some() bool { return len(r.names) > 0 }

// Has reports whether a client may not send a field of that name, or a server could
// confuse it with one of those (see httphead.Resembles).
func (r *Reserved) Has(name []byte) bool {
	if r == nil {
		return false
	}
	for _, reserved := range r.names {
		if httphead.Resembles(name, reserved) {
			return true
		}
	}
	return false
}

// fieldValue makes a value for a header field of what an issuer or an endpoint said:
// printable ASCII, with the other bytes percent-encoded, so that it can't end the field,
// and is read alike by all servers. The percent sign is encoded, too.
func fieldValue(text string) string {
	const upperHex = "0123456789ABCDEF"
	plain := func(c byte) bool { return ' ' <= c && c <= '~' && c != '%' }
	if !strings.ContainsFunc(text, func(c rune) bool { return c > '~' || !plain(byte(c)) }) && strings.TrimSpace(text) == text {
		return text
	}
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; plain(c) && (c != ' ' || i > 0 && i < len(text)-1) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}
