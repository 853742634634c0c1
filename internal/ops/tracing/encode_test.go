package tracing

import (
	"bytes"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// decode decodes a request. TracesData has the same fields as ExportTraceServiceRequest,
// whose package needs grpc.
func decode(t interface{ Fatal(...any) }, body []byte) *tracepb.TracesData {
	var data tracepb.TracesData
	if err := (proto.UnmarshalOptions{}).Unmarshal(body, &data); err != nil {
		t.Fatal(err)
	}
	if unknown := data.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		t.Fatal("unknown fields: ", unknown)
	}
	return &data
}

func attributes(list []*commonpb.KeyValue) map[string]any {
	all := map[string]any{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			all[kv.Key] = v.StringValue
		case *commonpb.AnyValue_DoubleValue:
			all[kv.Key] = v.DoubleValue
		}
	}
	return all
}

// What is sent is what the real types of OTLP read.
func TestEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		var spans []Span
		for range rapid.IntRange(1, 4).Draw(t, "spans") {
			s := Span{Trace: NewTraceID(), ID: NewSpanID(), Name: text.Draw(t, "name"), Kind: rapid.SampledFrom([]Kind{Internal, Server, Client}).Draw(t, "kind"),
				Start: time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "start")), End: time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "end"))}
			if rapid.Bool().Draw(t, "has a parent") {
				s.Parent = NewSpanID()
			}
			if rapid.Bool().Draw(t, "has a link") {
				s.Links = []Link{{NewTraceID(), NewSpanID()}}
			}
			s.Error = text.Draw(t, "error")
			s.Attributes = []Attribute{Text("text", text.Draw(t, "text")), Number("number", rapid.Float64Range(-1e9, 1e9).Draw(t, "number"))}
			spans = append(spans, s)
		}
		data := decode(t, appendRequest(nil, []Attribute{Text("service.name", "edge")}, "1.2", spans))
		rs := data.ResourceSpans[0]
		if got := attributes(rs.Resource.Attributes); got["service.name"] != "edge" || len(data.ResourceSpans) != 1 || len(rs.ScopeSpans) != 1 {
			t.Fatalf("resource %v", got)
		}
		if scope := rs.ScopeSpans[0].Scope; scope.Name != "holdfast" || scope.Version != "1.2" {
			t.Fatalf("scope %v", scope)
		}
		if n := len(rs.ScopeSpans[0].Spans); n != len(spans) {
			t.Fatalf("%d spans, want %d", n, len(spans))
		}
		for i, got := range rs.ScopeSpans[0].Spans {
			want := spans[i]
			a := attributes(got.Attributes)
			switch {
			case !bytes.Equal(got.TraceId, want.Trace[:]), !bytes.Equal(got.SpanId, want.ID[:]), got.Name != want.Name, int(got.Kind) != int(want.Kind),
				got.StartTimeUnixNano != uint64(want.Start.UnixNano()), got.EndTimeUnixNano != uint64(want.End.UnixNano()),
				a["text"] != want.Attributes[0].text, a["number"] != want.Attributes[1].number, len(a) != 2:
				t.Fatalf("got %v, want %+v", got, want)
			case want.Parent == SpanID{} && len(got.ParentSpanId) > 0, want.Parent != SpanID{} && !bytes.Equal(got.ParentSpanId, want.Parent[:]):
				t.Fatalf("parent %x, want %x", got.ParentSpanId, want.Parent)
			case len(got.Links) != len(want.Links), len(want.Links) > 0 && (!bytes.Equal(got.Links[0].TraceId, want.Links[0].Trace[:]) || !bytes.Equal(got.Links[0].SpanId, want.Links[0].Span[:])):
				t.Fatalf("links %v, want %v", got.Links, want.Links)
			case want.Error == "" && got.Status != nil:
				t.Fatalf("status %v", got.Status)
			case want.Error != "" && (got.Status.GetMessage() != want.Error || got.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR):
				t.Fatalf("status %v, want %q", got.Status, want.Error)
			}
		}
	})
}

// Protobuf has no strings that aren't UTF-8; one would make the whole request invalid.
func TestBytesThatAreNoText(t *testing.T) {
	data := decode(t, appendRequest(nil, nil, "", []Span{{Name: "a\xff", Error: "\xfe", Attributes: []Attribute{Text("k", "\x80b")}}}))
	s := data.ResourceSpans[0].ScopeSpans[0].Spans[0]
	if s.Name != "a?" || s.Status.Message != "?" || attributes(s.Attributes)["k"] != "?b" {
		t.Errorf("%v", s)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{10, 4, 8, 3, 18, 0})
	f.Add([]byte{10, 255, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, answer []byte) {
		if p, ok := partial(answer).(*partialError); ok && p.rejected <= 0 {
			t.Errorf("%+v", p)
		}
	})
}
