// Package tracing sends spans to a collector of OpenTelemetry, by OTLP over HTTP with
// protobuf (https://opentelemetry.io/docs/specs/otlp/#otlphttp). It is a small part of what
// the SDK of OpenTelemetry does, since that would add 3.8 MB to the binary
// (docs/dependencies.md).
//
//   - span.go: what a span is
//   - encode.go: spans as OTLP
//   - exporter.go: the queue, batches, and what is tried again
//   - post.go: one request, and what its answer means
package tracing

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// TraceID and SpanID are as in W3C Trace Context. Zero is none.
type (
	TraceID [16]byte
	SpanID  [8]byte
)

// NewTraceID makes a random id.
func NewTraceID() (id TraceID) {
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()|1) // not zero
	return id
}

// NewSpanID makes a random id.
func NewSpanID() (id SpanID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1)
	return id
}

// Kind is what a span is of; its values are those of OTLP.
type Kind uint8

const (
	Internal Kind = 1
	Server   Kind = 2 // a request that was received
	Client   Kind = 3 // one that was sent
)

// Span is one piece of work.
type Span struct {
	Trace      TraceID
	ID, Parent SpanID
	Name       string
	Kind       Kind
	Start, End time.Time
	Attributes []Attribute
	Links      []Link
	// Error is why it failed; "" if it didn't.
	Error string
}

// Attribute is a fact about a span: a text or a number.
type Attribute struct {
	key      string
	isNumber bool
	text     string
	number   float64
}

// Link leads to a span of another trace.
type Link struct {
	Trace TraceID
	Span  SpanID
}

// Text makes an attribute.
func Text(key, value string) Attribute { return Attribute{key: key, text: value} }

// Number makes an attribute.
func Number(key string, value float64) Attribute {
	return Attribute{key: key, isNumber: true, number: value}
}
