package handshake

import (
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// A session that may be moved to another backend can't carry over any state that
// the two ends keep from one message to the next. permessage-deflate can be told
// to keep none (RFC 7692 §7.1.1). No other extension can, so no other is offered.
// A client's offer is not passed on unchanged but parsed and written again, so
// that everybody has the same parameters. In a pool without reattach the client's
// offer is passed on unchanged, see forward.go.

// Deflate is the parameters of permessage-deflate, as offered or agreed. The zero
// value means no permessage-deflate. Values can be compared.
type Deflate struct {
	on                 bool
	serverNoTakeover   bool
	clientNoTakeover   bool
	serverBits         uint8 // 8 to 15; 0 if the parameter is absent
	clientBits         uint8 // likewise, or anyBits
	clientBitsAreNamed bool
}

const (
	extensions  = "sec-websocket-extensions"
	deflateName = "permessage-deflate"
	// maxWindow is the window without a parameter, 2^15 bytes (RFC 7692 §7.1.2).
	maxWindow = 15
	// maxOffers bounds the size of the request for a backend if the client makes
	// many short offers. They are in the order of its preference; one or two are
	// usual.
	maxOffers = 8
)

// parseDeflate parses a member of Sec-WebSocket-Extensions (RFC 6455 §9.1) in an
// offer. It reports false for other extensions, and for parameters for which an
// offer must be declined: unknown ones, one given twice, and a value that is not
// allowed (RFC 7692 §7.1).
func parseDeflate(member []byte) (d Deflate, ok bool) {
	name, rest := cutToken(member)
	if string(name) != deflateName {
		return d, false
	}
	d.on = true
	for {
		if rest = skipSpace(rest); len(rest) == 0 {
			return d, true
		}
		if rest[0] != ';' {
			return d, false
		}
		name, rest = cutToken(skipSpace(rest[1:]))
		var v value
		if rest = skipSpace(rest); len(rest) > 0 && rest[0] == '=' {
			if v, rest, ok = cutValue(skipSpace(rest[1:])); !ok {
				return d, false
			}
		}
		if !d.set(name, v) {
			return d, false
		}
	}
}

// set parses one parameter.
func (d *Deflate) set(name []byte, v value) bool {
	bits, isBits := v.bits()
	switch string(name) {
	case "server_no_context_takeover":
		if d.serverNoTakeover || v.there {
			return false
		}
		d.serverNoTakeover = true
	case "client_no_context_takeover":
		if d.clientNoTakeover || v.there {
			return false
		}
		d.clientNoTakeover = true
	case "server_max_window_bits":
		if d.serverBits != 0 || !isBits {
			return false
		}
		d.serverBits = bits
	case "client_max_window_bits":
		// In an offer the value may be missing (RFC 7692 §7.1.2.2).
		if d.clientBitsAreNamed || v.there && !isBits {
			return false
		}
		d.clientBits, d.clientBitsAreNamed = bits, true
	default:
		return false
	}
	return true
}

// value is a parameter's, unquoted. All allowed values have at most two
// characters.
type value struct {
	there bool
	n     int
	text  [2]byte
}

func (v *value) add(c byte) {
	if v.n < len(v.text) {
		v.text[v.n] = c
	}
	v.n++
}

// bits parses a window's size, 8 to 15 without leading zeros.
func (v value) bits() (uint8, bool) {
	switch c := v.text; {
	case v.n == 1 && (c[0] == '8' || c[0] == '9'):
		return c[0] - '0', true
	case v.n == 2 && c[0] == '1' && '0' <= c[1] && c[1] <= '5':
		return 10 + c[1] - '0', true
	}
	return 0, false
}

// cutValue cuts a token or a quoted string off the start of b. A quoted string
// must be a token once it is unquoted.
func cutValue(b []byte) (v value, rest []byte, ok bool) {
	v.there = true
	if len(b) == 0 || b[0] != '"' {
		text, rest := cutToken(b)
		for _, c := range text {
			v.add(c)
		}
		return v, rest, len(text) > 0
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return v, b[i+1:], v.n > 0
		case b[i] == '\\' && i+1 < len(b):
			i++
		}
		if !httphead.IsToken(b[i : i+1]) {
			break
		}
		v.add(b[i])
	}
	return v, nil, false
}

func cutToken(b []byte) (token, rest []byte) {
	i := 0
	for i < len(b) && httphead.IsToken(b[i:i+1]) {
		i++
	}
	return b[:i], b[i:]
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// appendTo appends d as a member of Sec-WebSocket-Extensions that forbids context
// takeover to both ends.
func (d Deflate) appendTo(dst []byte) []byte {
	dst = append(dst, deflateName+"; server_no_context_takeover; client_no_context_takeover"...)
	if d.serverBits != 0 {
		dst = appendBits(append(dst, "; server_max_window_bits="...), d.serverBits)
	}
	if d.clientBitsAreNamed {
		dst = append(dst, "; client_max_window_bits"...)
		if d.clientBits != 0 {
			dst = appendBits(append(dst, '='), d.clientBits)
		}
	}
	return dst
}

func appendBits(dst []byte, bits uint8) []byte {
	if bits >= 10 {
		dst = append(dst, '1')
	}
	return append(dst, '0'+bits%10)
}

// appendOffers appends the Sec-WebSocket-Extensions for a backend, in place of the
// client's. It appends nothing if nothing is left of that.
func appendOffers(dst []byte, client httphead.Fields) []byte {
	n := 0
	eachOffer(client, func(d Deflate) bool {
		if n++; n == 1 {
			dst = append(dst, "Sec-WebSocket-Extensions: "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = d.appendTo(dst)
		return n < maxOffers
	})
	if n > 0 {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// eachOffer calls f for each valid offer of permessage-deflate, as long as it
// returns true.
func eachOffer(client httphead.Fields, f func(Deflate) bool) {
	for list := range client.Values(extensions) {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			if d, ok := parseDeflate(member); ok && !f(d) {
				return
			}
		}
	}
}

// agreedDeflate parses the answer to appendOffers. It is an error if the answer
// has anything that was not offered, can't be parsed, or allows the backend to
// take context over.
func agreedDeflate(backend, client httphead.Fields) (d Deflate, err error) {
	for list := range backend.Values(extensions) {
		for member, rest := httphead.NextMember(list); member != nil; member, rest = httphead.NextMember(rest) {
			var ok bool
			if d.on {
				return Deflate{}, errExtension // more than one
			}
			// In an answer every window's size must have a value (RFC 7692 §7.1.2.2).
			if d, ok = parseDeflate(member); !ok || d.clientBitsAreNamed && d.clientBits == 0 {
				return Deflate{}, errExtension
			}
		}
	}
	if !d.on {
		return d, nil
	}
	offered := false
	eachOffer(client, func(Deflate) bool { offered = true; return false })
	switch {
	case !offered:
		return Deflate{}, errExtension
	case !d.serverNoTakeover:
		return Deflate{}, errTakeover
	}
	// The backend may leave this out; the balancer then tells the client (RFC
	// 7692 §7.1.1.2). So it makes no difference between two backends.
	d.clientNoTakeover = true
	return d, nil
}

// same reports whether the two are the same for the client. A window of the
// largest size may be named or not.
func (d Deflate) same(e Deflate) bool { return d.normal() == e.normal() }

func (d Deflate) normal() Deflate {
	if d.on && d.serverBits == 0 {
		d.serverBits = maxWindow
	}
	if d.on && d.clientBits == 0 {
		d.clientBits = maxWindow
	}
	d.clientBitsAreNamed = false
	return d
}
