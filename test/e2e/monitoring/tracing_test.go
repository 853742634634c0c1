//go:build unix

package monitoring

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// span is a span that a collector got.
type span struct {
	*tracepb.Span
	service string
	trace   string
	about   map[string]string
}

// collector is a stub of one. It refuses the first request.
type collector struct {
	*httptest.Server

	mu       sync.Mutex
	requests int
	tokens   map[string]int // values of Authorization
	spans    []span
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{tokens: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var data tracepb.TracesData // as ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &data)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests++
		c.tokens[r.Header.Get("Authorization")]++
		switch {
		case err != nil || r.URL.Path != "/v1/traces":
			t.Errorf("%s: %v", r.URL, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		case c.requests == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for _, rs := range data.ResourceSpans {
			for _, kv := range rs.Resource.Attributes {
				if kv.Key == "service.name" {
					for _, s := range rs.ScopeSpans[0].Spans {
						c.spans = append(c.spans, newSpan(s, kv.Value.GetStringValue()))
					}
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func newSpan(s *tracepb.Span, service string) span {
	about := map[string]string{}
	for _, kv := range s.Attributes {
		about[kv.Key] = kv.Value.GetStringValue()
		if n := kv.Value.GetDoubleValue(); n != 0 {
			about[kv.Key] = fmt.Sprint(n)
		}
	}
	return span{s, service, hex.EncodeToString(s.TraceId), about}
}

// find waits for a span of that name with those attributes, key=value.
func (c *collector) find(t *testing.T, name string, attrs ...string) (found span) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("a span %s %v", name, attrs), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.IndexFunc(c.spans, func(s span) bool {
			return s.Name == name && !slices.ContainsFunc(attrs, func(a string) bool {
				key, value, _ := strings.Cut(a, "=")
				return s.about[key] != value
			})
		})
		if i >= 0 {
			found = c.spans[i]
		}
		return i >= 0
	})
	return found
}

// parts lists the names of the spans in a span, in order.
func (c *collector) parts(of span) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(c.spans), func(s span) bool { return string(s.ParentSpanId) != string(of.SpanId) })
	slices.SortStableFunc(all, func(a, b span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	for _, s := range all {
		if s.StartTimeUnixNano < of.StartTimeUnixNano || s.EndTimeUnixNano > of.EndTimeUnixNano || s.EndTimeUnixNano < s.StartTimeUnixNano || s.trace != of.trace {
			names = append(names, "not within it: ")
		}
		text := s.Name
		if b := s.about["holdfast.backend"]; b != "" {
			text += " " + b
		}
		if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			text += " failed"
		}
		names = append(names, text)
	}
	return names
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.spans)
}

// Handshakes and moves come to a collector as traces, also if it refuses at first.
func TestTraces(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	dead := testkit.FreeAddress(t)
	var addresses []string
	for range 2 {
		at := testkit.FreeAddress(t)
		kit.StartHoldfast(t, "bench-server", "--listen", at)
		addresses = append(addresses, at)
	}
	token := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(token, []byte("Authorization: Bearer secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tracing := fmt.Sprintf("tracing: {endpoint: %q, headers_file: %q, service_name: edge}\n", c.URL, token)
	plain := fmt.Sprintf(`listeners: [{name: public, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
forwarded: {trace_context: true}
timeouts: {shutdown: 1s}
pools:
  main:
    balance: first
    reattach: {on: drain}
    drain: {spread: 0s}
    backends: [{name: dead, address: %q}, {name: a, address: %q}, {name: b, address: %q}]
`, dead, addresses[0], addresses[1])
	b := kit.StartBalancer(t, plain+tracing)
	for _, at := range addresses {
		testkit.Eventually(t, "a server at "+at, func() bool {
			w, _, err := wspeer.Dial(at, "/echo")
			if err == nil {
				w.Close()
			}
			return err == nil
		})
	}

	// A session, after a backend that is not there.
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	session, _, err := wspeer.Dial(b.Address, "/echo", "traceparent: "+parent)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	first := c.find(t, "handshake", "holdfast.result=opened")
	opened := b.FindLog(t, "session open", 0)
	if first.trace != "0af7651916cd43dd8448eb211c80319c" || hex.EncodeToString(first.ParentSpanId) != "b7ad6b7169203331" ||
		first.about["holdfast.session"] != opened["id"] || first.about["holdfast.pool"] != "main" || first.about["holdfast.backend"] != "a" ||
		first.about["holdfast.listener"] != "public" || first.about["client.address"] != "127.0.0.1" || first.service != "edge" || first.Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("the span of the handshake: %v", first)
	}
	if got, want := c.parts(first), []string{"request", "route", "dial dead failed", "dial a", "backend handshake a"}; !slices.Equal(got, want) {
		t.Errorf("its stages: %q, want %q", got, want)
	}
	// Without a traceparent, the backend's spans are the handshake's children.
	other, _, err := wspeer.Dial(b.Address, "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	logged := b.FindLog(t, "session open", 0, "trace_id="+c.find(t, "handshake", fmt.Sprintf("holdfast.session=%v", second(t, b))).trace)
	if logged["id"] == opened["id"] {
		t.Error("two sessions have one trace")
	}

	// A handshake that is refused.
	if _, res, err := wspeer.Dial(b.Address, "/", "Sec-WebSocket-Version: 12"); err == nil || res == nil {
		t.Errorf("refused: %v", err)
	}

	// A move, with a link to the handshake.
	b.Command(t, 0, "drain", "main/a")
	moved := c.find(t, "move", fmt.Sprintf("holdfast.session=%v", opened["id"]))
	if moved.about["holdfast.result"] != "moved" || moved.about["holdfast.reason"] != "drain" || moved.about["holdfast.from"] != "a" || moved.about["holdfast.to"] != "b" ||
		moved.trace == first.trace || len(moved.Links) != 1 || string(moved.Links[0].TraceId) != string(first.TraceId) || string(moved.Links[0].SpanId) != string(first.SpanId) {
		t.Errorf("the span of the move: %v", moved)
	}
	if got := c.parts(moved); len(got) < 2 || !slices.Equal(got[len(got)-2:], []string{"dial b", "backend handshake b"}) {
		t.Errorf("the stages of the move: %q", got)
	}
	if err := session.RoundTrip("still there"); err != nil {
		t.Error(err)
	}

	b.AwaitMetrics(t, "all spans counted", func(m kit.Metrics) bool {
		return m[`holdfast_trace_spans_total{result="exported"}`] == float64(c.count()) && m[`holdfast_trace_spans_total{result="failed"}`] == 0
	})

	// A reload without tracing ends it; one with it begins again, and a shutdown sends the rest.
	b.WriteConfig(t, plain)
	b.Reload(t, kit.Reloaded)
	before := c.count()
	if w, _, err := wspeer.Dial(b.Address, "/echo"); err != nil {
		t.Error(err)
	} else {
		w.Close()
	}
	b.WriteConfig(t, plain+tracing)
	b.Reload(t, kit.Reloaded)
	if c.count() != before {
		t.Error("there are traces without tracing")
	}
	if w, _, err := wspeer.Dial(b.Address, "/echo", "traceparent: 00-11111111111111111111111111111111-2222222222222222-00"); err != nil {
		t.Error(err)
	} else {
		w.Close()
	}
	session.Close()
	other.Close()
	b.AwaitSessions(t, 0)
	b.Stop(t)
	last := c.find(t, "handshake", "holdfast.backend=b")
	if last.trace != strings.Repeat("1", 32) { // a client doesn't decide by its flag
		t.Errorf("the last handshake: %v", last)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) != 1 || c.tokens["Bearer secret"] != c.requests || c.requests < 2 {
		t.Errorf("%d requests with %v", c.requests, c.tokens)
	}
}

// second returns the id of the second session in the log.
func second(t *testing.T, b *kit.Balancer) (id any) {
	t.Helper()
	testkit.Eventually(t, "a second session", func() bool {
		all := b.LogEntries("session open")
		if len(all) > 1 {
			id = all[1]["id"]
		}
		return len(all) > 1
	})
	return id
}
