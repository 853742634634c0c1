// Package requestid gives requests an identity that the logs of several servers can be
// joined by: X-Request-ID, and the trace context of W3C
// (https://www.w3.org/TR/trace-context/).
//
// X-Request-ID is believed only if a trusted proxy has sent it. traceparent is passed on
// unchanged, whoever has sent it, since each server decides for itself what it records; a
// malformed one is replaced, and tracestate with it (§3.2.2.3, §3.3.1.1).
package requestid

import (
	"encoding/binary"
	"encoding/hex"
	"net/http"

	"github.com/cespare/xxhash/v2"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Policy says which ids requests get.
type Policy struct {
	RequestID    bool // X-Request-ID, in the request and in the answer
	TraceContext bool // traceparent, if the client hasn't sent one
}

const (
	fieldRequest = "x-request-id"
	fieldParent  = "traceparent"
	fieldState   = "tracestate"

	// maxID bounds the id of a trusted proxy, in bytes.
	maxID = 128
	// seedSize is how many random bytes ids are made from.
	seedSize  = 12
	traceSize = 32 // of a trace id, in hexadecimal digits
)

// IDs are those of one request. The zero value has none.
type IDs struct {
	request []byte // nil unless there is one; own, or a slice of the head
	trace   []byte // likewise
	context []byte // the traceparent that trace is of
	replace bool   // the trace context is made here

	own    [20]byte
	parent [len("00-") + traceSize + len("-0123456789abcdef-01")]byte
}

// Set decides on the ids of a request with the fields in, of which it keeps slices.
// trusted says whether its peer is believed. Ids that are made here come from seed,
// which is random, and from its text: the same seed gives the same ids.
func (d *IDs) Set(p Policy, in httphead.Fields, trusted bool, seed [seedSize]byte, text []byte) {
	d.request, d.trace, d.context, d.replace = nil, nil, nil, false
	if p.RequestID {
		id, _ := in.Get(fieldRequest)
		if !trusted || in.Count(fieldRequest) != 1 || !validID(id) {
			id = d.own[:copy(d.own[:], text)]
		}
		d.request = id
	}
	if p.TraceContext {
		value, _ := in.Get(fieldParent)
		if in.Count(fieldParent) == 1 {
			d.trace, d.context = traceOf(value), value
		}
		if d.trace == nil {
			d.replace = true
			d.makeTrace(seed)
		}
	}
}

// makeTrace makes a traceparent. 12 random bytes at the right end of a trace id are more
// than other systems need (§5.1); the rest and the parent id follow from them, so that
// nothing has to be kept for a session that asks another backend later. The flag
// "sampled" is set: a server that has no rule of its own records what it would record
// without a traceparent.
func (d *IDs) makeTrace(seed [seedSize]byte) {
	var id [16]byte
	copy(id[4:], seed[:])
	hash := xxhash.Sum64(seed[:])
	binary.BigEndian.PutUint32(id[:4], uint32(hash)|1)
	b := append(d.parent[:0], "00-"...)
	b = hex.AppendEncode(b, id[:])
	d.trace = b[len(b)-traceSize:]
	var parent [8]byte
	binary.BigEndian.PutUint64(parent[:], xxhash.Sum64(id[:])|1) // not 0 (§3.2.2.4)
	b = hex.AppendEncode(append(b, '-'), parent[:])
	d.context = append(b, "-01"...)
}

// Request is the X-Request-ID; nil if there is none.
func (d *IDs) Request() []byte { return d.request }

// Trace is the trace id in hexadecimal; nil unless the Policy has TraceContext.
func (d *IDs) Trace() []byte { return d.trace }

// Context is a trace context in binary.
type Context struct {
	Trace [16]byte // zero if there is none
	// Parent is the id of the span that what the sender does belongs to. If Made, this
	// balancer has made the context: Parent is its own span, which backends see.
	Parent  [8]byte
	Sampled bool // the sender records its part
	Made    bool
}

// Context returns the trace context, as backends get it; zero without one.
func (d *IDs) Context() (c Context) {
	if d.trace == nil {
		return Context{}
	}
	var flags [1]byte
	hex.Decode(c.Trace[:], d.context[3:35]) // traceOf has checked the digits
	hex.Decode(c.Parent[:], d.context[36:52])
	hex.Decode(flags[:], d.context[53:55])
	c.Sampled, c.Made = flags[0]&1 != 0, d.replace
	return c
}

// Replaces reports whether a field of that name isn't passed on to a backend, since
// Append sets it.
func (d *IDs) Replaces(name []byte) bool {
	return d.request != nil && httphead.Resembles(name, fieldRequest) ||
		d.replace && (httphead.EqualFold(name, fieldParent) || httphead.EqualFold(name, fieldState))
}

// ReplacesInAnswer is Replaces for an answer to the client, which gets Request.
func (d *IDs) ReplacesInAnswer(name []byte) bool {
	return d.request != nil && httphead.EqualFold(name, fieldRequest)
}

// Append appends the fields for a backend, as lines with CR LF.
func (d *IDs) Append(dst []byte) []byte {
	dst = d.AppendToAnswer(dst)
	if d.replace {
		dst = append(dst, "traceparent: "...)
		dst = append(append(dst, d.parent[:]...), "\r\n"...)
	}
	return dst
}

// AppendToAnswer appends the field for the client, as a line with CR LF.
func (d *IDs) AppendToAnswer(dst []byte) []byte {
	if d.request == nil {
		return dst
	}
	dst = append(dst, "X-Request-ID: "...)
	return append(append(dst, d.request...), "\r\n"...)
}

// SetFrom is Set for a header of net/http.
func (d *IDs) SetFrom(p Policy, in http.Header, trusted bool, seed [seedSize]byte, text []byte) {
	var fields httphead.Fields
	for _, name := range [...]string{"X-Request-Id", "Traceparent"} {
		for _, value := range in[name] {
			fields = append(fields, httphead.Field{Name: []byte(name), Value: []byte(value)})
		}
	}
	d.Set(p, fields, trusted, seed, text)
}

// Edit is Replaces and Append for net/http.
func (d *IDs) Edit(h http.Header) {
	for name := range h {
		if d.Replaces([]byte(name)) {
			delete(h, name)
		}
	}
	d.EditAnswer(h)
	if d.replace {
		h["Traceparent"] = []string{string(d.parent[:])}
	}
}

// EditAnswer sets Request in an answer to the client.
func (d *IDs) EditAnswer(h http.Header) {
	if d.request != nil {
		h["X-Request-Id"] = []string{string(d.request)}
	}
}

// validID reports whether a trusted proxy's id is passed on: letters, digits and what
// UUIDs, base64 and URLs consist of, nothing that is special in a log or a query.
func validID(id []byte) bool {
	for _, c := range id {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 0x80
		if !letter && !('0' <= c && c <= '9') && !isMark(c) {
			return false
		}
	}
	return len(id) > 0 && len(id) <= maxID
}

func isMark(c byte) bool {
	switch c {
	case '-', '_', '.', ':', '/', '+', '=', '@', '~':
		return true
	}
	return false
}

// traceOf returns the trace id of a traceparent (§3.2), nil if it is malformed. Of a
// version that isn't known, more may follow (§4.3).
func traceOf(v []byte) []byte {
	const length = 55
	switch {
	case len(v) < length || v[2] != '-' || v[35] != '-' || v[52] != '-':
		return nil
	case !isHex(v[:2]) || !isHex(v[3:35]) || !isHex(v[36:52]) || !isHex(v[53:55]):
		return nil
	case string(v[:2]) == "ff" || string(v[:2]) == "00" && len(v) > length || len(v) > length && v[length] != '-':
		return nil
	case isZero(v[3:35]) || isZero(v[36:52]):
		return nil
	}
	return v[3:35]
}

// isHex reports whether b is hexadecimal in lower case, the only one allowed.
func isHex(b []byte) bool {
	for _, c := range b {
		if !('0' <= c && c <= '9') && !('a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
