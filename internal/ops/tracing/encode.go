package tracing

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of fields in opentelemetry/proto/trace/v1/trace.proto, common/v1 and resource/v1.
const (
	requestResourceSpans = 1 // of ExportTraceServiceRequest

	resourceSpansResource = 1
	resourceSpansScope    = 2
	resourceAttributes    = 1
	scopeSpansScope       = 1
	scopeSpansSpans       = 2
	scopeName             = 1
	scopeVersion          = 2

	spanTrace      = 1
	spanID         = 2
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanLinks      = 13
	spanStatus     = 15

	linkTrace     = 1
	linkSpan      = 2
	statusMessage = 2
	statusCode    = 3
	statusError   = 2 // a value

	keyValueKey   = 1
	keyValueValue = 2
	valueText     = 1
	valueDouble   = 4
)

// appendRequest appends an ExportTraceServiceRequest with spans of one resource.
func appendRequest(dst []byte, resource []Attribute, version string, spans []Span) []byte {
	return appendMessage(dst, requestResourceSpans, func(b []byte) []byte {
		b = appendMessage(b, resourceSpansResource, func(b []byte) []byte { return appendAttributes(b, resourceAttributes, resource) })
		return appendMessage(b, resourceSpansScope, func(b []byte) []byte {
			b = appendMessage(b, scopeSpansScope, func(b []byte) []byte {
				return appendText(appendText(b, scopeName, "holdfast"), scopeVersion, version)
			})
			for i := range spans {
				b = appendMessage(b, scopeSpansSpans, spans[i].append)
			}
			return b
		})
	})
}

func (s *Span) append(b []byte) []byte {
	b = appendBytes(b, spanTrace, s.Trace[:])
	b = appendBytes(b, spanID, s.ID[:])
	if s.Parent != (SpanID{}) {
		b = appendBytes(b, spanParent, s.Parent[:])
	}
	b = appendText(b, spanName, s.Name)
	b = appendNumber(b, spanKind, uint64(s.Kind))
	b = appendTime(b, spanStart, s.Start)
	b = appendTime(b, spanEnd, s.End)
	b = appendAttributes(b, spanAttributes, s.Attributes)
	for _, l := range s.Links {
		b = appendMessage(b, spanLinks, func(b []byte) []byte { return appendBytes(appendBytes(b, linkTrace, l.Trace[:]), linkSpan, l.Span[:]) })
	}
	if s.Error != "" {
		b = appendMessage(b, spanStatus, func(b []byte) []byte {
			return appendNumber(appendText(b, statusMessage, s.Error), statusCode, statusError)
		})
	}
	return b
}

func appendAttributes(b []byte, field protowire.Number, all []Attribute) []byte {
	for _, a := range all {
		b = appendMessage(b, field, func(b []byte) []byte {
			b = appendText(b, keyValueKey, a.key)
			return appendMessage(b, keyValueValue, func(b []byte) []byte {
				if !a.isNumber {
					return appendText(b, valueText, a.text)
				}
				b = protowire.AppendTag(b, valueDouble, protowire.Fixed64Type)
				return protowire.AppendFixed64(b, math.Float64bits(a.number))
			})
		})
	}
	return b
}

// appendMessage appends a message that f appends, after its length.
func appendMessage(b []byte, field protowire.Number, f func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, f(nil))
}

// appendText appends a string, which must be valid UTF-8 in protobuf.
func appendText(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, strings.ToValidUTF8(s, "?"))
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(t.UnixNano()))
}
