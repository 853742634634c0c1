package bearer

import (
	"bytes"
	"net/http"
	"net/textproto"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// StripQuery returns a query as it was received, without the tokens that the sources may find in it. It is
// received itself if there are none, and shares no bytes with it otherwise.
func StripQuery(sources []Source, received []byte) []byte {
	for _, s := range sources {
		if s.kind == query {
			received = s.stripQuery(received)
		}
	}
	return received
}

func (s Source) stripQuery(received []byte) []byte {
	found := false
	eachParameter(received, func(parameter []byte) { found = found || s.isParameter(parameter) })
	if !found {
		return received
	}
	var kept []byte
	some := false
	eachParameter(received, func(parameter []byte) {
		switch {
		case s.isParameter(parameter):
			return
		case some:
			kept = append(kept, '&')
		case received[0] == '?':
			kept = append(kept, '?')
		}
		some = true
		kept = append(kept, parameter...)
	})
	return kept
}

func (s Source) isParameter(parameter []byte) bool {
	name, _, _ := bytes.Cut(parameter, []byte{'='})
	return decoded(name) == s.name
}

// StripFields returns fields without the tokens that the sources may find in them. What
// is changed is copied.
func StripFields(sources []Source, fields httphead.Fields) httphead.Fields {
	return strip(sources, fields, true)
}

// StripOffer is StripFields for subprotocols alone: a token is no name of a subprotocol,
// so that it and the word before it are never offered to a backend.
func StripOffer(sources []Source, fields httphead.Fields) httphead.Fields {
	return strip(sources, fields, false)
}

func strip(sources []Source, fields httphead.Fields, all bool) httphead.Fields {
	fields = slices.Clone(fields)
	for _, s := range sources {
		if s.kind == subprotocol {
			fields = s.stripOffer(fields)
		} else if all {
			fields = s.stripFields(fields)
		}
	}
	return fields
}

func (s Source) stripFields(fields httphead.Fields) httphead.Fields {
	kept := fields[:0]
	for _, f := range fields {
		switch {
		case s.kind == header && httphead.EqualFold(f.Name, s.name):
			if len(s.credentials(f.Value)) > 0 {
				continue
			}
		case s.kind == cookie && httphead.EqualFold(f.Name, "cookie"):
			if f.Value = s.stripCookies(f.Value); len(f.Value) == 0 {
				continue
			}
		}
		kept = append(kept, f)
	}
	return kept
}

// stripCookies returns the value of a Cookie field without the cookies of that name.
func (s Source) stripCookies(cookies []byte) []byte {
	if _, _, ok := requestkey.NextCookie(cookies, s.name); !ok {
		return cookies
	}
	var kept []byte
	for pair := range bytes.SplitSeq(cookies, []byte{';'}) {
		name, _, ok := bytes.Cut(pair, []byte{'='})
		if ok && string(bytes.Trim(name, " \t")) == s.name {
			continue
		}
		if pair = bytes.Trim(pair, " \t"); len(pair) == 0 {
			continue
		}
		if len(kept) > 0 {
			kept = append(kept, "; "...)
		}
		kept = append(kept, pair...)
	}
	return kept
}

// stripOffer removes the word and the token after it. All fields are one list together
// (RFC 6455 section 11.3.4), so the word may be in another one.
func (s Source) stripOffer(fields httphead.Fields) httphead.Fields {
	kept, after := fields[:0], false
	for _, f := range fields {
		if !httphead.EqualFold(f.Name, fieldSubprotocol) {
			kept = append(kept, f)
			continue
		}
		var offer []byte
		changed := false
		for member := range members(f.Value) {
			if after {
				after, changed = false, true
				continue
			}
			if after = string(member) == s.name; after {
				changed = true
				continue
			}
			if len(offer) > 0 {
				offer = append(offer, ", "...)
			}
			offer = append(offer, member...)
		}
		if changed {
			f.Value = offer
		}
		if len(f.Value) > 0 {
			kept = append(kept, f)
		}
	}
	return kept
}

// StripHeader is StripFields for a request of net/http. It changes h.
func StripHeader(sources []Source, h http.Header) {
	stripHeader(sources, h, true)
}

// StripHeaderOffer is StripOffer for a request of net/http. It changes h.
func StripHeaderOffer(sources []Source, h http.Header) { stripHeader(sources, h, false) }

func stripHeader(sources []Source, h http.Header, all bool) {
	for _, name := range headerNames(sources) {
		values := h[name]
		fields := make(httphead.Fields, len(values))
		for i, v := range values {
			fields[i] = httphead.Field{Name: []byte(name), Value: []byte(v)}
		}
		fields = strip(sources, fields, all)
		if len(fields) == 0 {
			delete(h, name)
			continue
		}
		left := make([]string, len(fields))
		for i, f := range fields {
			left[i] = string(f.Value)
		}
		h[name] = left
	}
}

// headerNames are the names of the fields that the sources look at.
func headerNames(sources []Source) (names []string) {
	for _, s := range sources {
		switch s.kind {
		case header:
			names = append(names, textproto.CanonicalMIMEHeaderKey(s.name))
		case cookie:
			names = append(names, "Cookie")
		case subprotocol:
			names = append(names, "Sec-Websocket-Protocol")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
