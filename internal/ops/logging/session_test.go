package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// slogLine returns what log/slog writes for a session line.
func slogLine(t testing.TB, format string, now time.Time, msg string, attrs ...slog.Attr) string {
	var out bytes.Buffer
	var h slog.Handler = slog.NewJSONHandler(&out, nil)
	if format == Text {
		h = slog.NewTextHandler(&out, nil)
	}
	r := slog.NewRecord(now, slog.LevelInfo, msg, 0)
	r.AddAttrs(attrs...)
	if err := h.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func infoAttrs(info session.Info, w Names) []slog.Attr {
	attrs := []slog.Attr{slog.String("id", info.ID.String()), slog.String("client", info.Client.String())}
	if w.Listener != "" {
		attrs = append(attrs, slog.String("listener", w.Listener))
	}
	return append(attrs, slog.String("route", w.Route), slog.String("pool", w.Pool), slog.String("backend", w.Backend))
}

func summaryAttrs(sum session.Summary, w Names) []slog.Attr {
	attrs := append(infoAttrs(sum.Info, w),
		slog.Float64("duration", float64(sum.Duration.Round(time.Millisecond).Milliseconds())/1000),
		slog.Uint64("messages_from_client", sum.From[session.Client].Messages),
		slog.Uint64("messages_from_backend", sum.From[session.Backend].Messages),
		slog.Uint64("bytes_from_client", sum.From[session.Client].Bytes),
		slog.Uint64("bytes_from_backend", sum.From[session.Backend].Bytes))
	if sum.Code != 0 {
		attrs = append(attrs, slog.Int("close_code", int(sum.Code)))
	}
	if sum.Reason != "" {
		attrs = append(attrs, slog.String("close_reason", sum.Reason))
	}
	if sum.Fault != "" {
		attrs = append(attrs, slog.String("protocol_error", sum.Fault), slog.Uint64("at_byte", sum.FaultAt))
	}
	if sum.TLSError != "" {
		attrs = append(attrs, slog.String("tls_error", sum.TLSError))
	}
	if sum.Limit != session.NoLimit {
		attrs = append(attrs, slog.String("limit", sum.Limit.String()), slog.String("exceeded_by", sum.LimitSide.String()))
	}
	return append(attrs, slog.String("cause", sum.Cause.String()))
}

func newTestLog(t testing.TB, w io.Writer, format string) *Log {
	l := New(w, format, slog.LevelInfo)
	t.Cleanup(func() { l.Close() })
	return l
}

func FuzzSessionLines(f *testing.F) {
	f.Add("chat", "main", "ws1", "public", "", "bye", "a rule", int64(12_345_678_901), uint64(3), uint16(1000), int64(1_700_000_000_120_000_000))
	f.Add("", "", "", "", "eth0", "", "", int64(0), uint64(0), uint16(0), int64(0))
	f.Add("a\"b\\c", "x=y z", "\n\t\r\x00\x1f\x7f", "\u2028\u2029\u00a0é\U0001f600", "a\"\n", "\x00\n\"", "x=y", int64(1), uint64(1)<<63, uint16(4999), int64(1))
	f.Add("\xff\xfe", "\xe2\x80", "\ufffd", "ok\xc0\x80", "\xff", "\xff", "\u2028", int64(999_500_000), uint64(1), uint16(1), int64(-1))
	f.Fuzz(func(t *testing.T, route, pool, backend, listener, zone, reason, fault string, duration int64, count uint64, code uint16, at int64) {
		w := Names{Route: route, Pool: pool, Backend: backend, Listener: listener}
		// In text, slog writes floats from 10^6 on with an exponent.
		d := time.Duration(duration) % (999_999 * time.Second)
		info := session.Info{ID: session.NewID(),
			Client: netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(zone), uint16(count))}
		sum := session.Summary{Info: info, Cause: session.Cause(code % 16), Code: code, Duration: d.Abs(),
			Reason: reason, Fault: fault, FaultAt: count / 5, TLSError: fault,
			Limit: session.Limit(count % 6), LimitSide: session.Side(code % 2),
			From: [2]session.Traffic{{Messages: count, Bytes: count / 3}, {Messages: count / 7, Bytes: ^count}}}
		now := time.Unix(0, at).UTC()
		for _, format := range []string{JSON, Text} {
			l := &Log{}
			l.SetFormatLevel(format, slog.LevelInfo)
			open := string(l.appendOpened(nil, now, &info, &w, &Opened{}))
			if want := slogLine(t, format, now, "session open", infoAttrs(info, w)...); open != want {
				t.Errorf("open line:\n got %s\nwant %s", open, want)
			}
			// A client chooses the name freely.
			secure := string(l.appendOpened(nil, now, &info, &w, &Opened{TLS: &TLS{"1.3", "TLS_AES_128_GCM_SHA256", reason, count%2 == 0}, RequestID: []byte("r-1"), TraceID: []byte("0af7")}))
			attrs := append(infoAttrs(info, w), slog.String("request_id", "r-1"), slog.String("trace_id", "0af7"), slog.String("tls", "1.3"), slog.String("cipher", "TLS_AES_128_GCM_SHA256"),
				slog.String("server_name", reason), slog.Bool("resumed", count%2 == 0))
			if want := slogLine(t, format, now, "session open", attrs...); secure != want || strings.Count(secure, "\n") != 1 {
				t.Errorf("open line of TLS:\n got %s\nwant %s", secure, want)
			}
			closed := string(l.appendClosed(nil, now, &sum, &w))
			if want := slogLine(t, format, now, "session closed", summaryAttrs(sum, w)...); closed != want {
				t.Errorf("close line:\n got %s\nwant %s", closed, want)
			}
			if strings.Count(open+closed, "\n") != 2 {
				t.Errorf("a line has a line break inside: %q", open+closed)
			}
			if format == JSON {
				checkJSON(t, closed, map[string]string{
					"id": info.ID.String(), "client": info.Client.String(),
					"route": route, "pool": pool, "backend": backend, "listener": listener})
			}
		}
	})
}

// checkJSON compares the strings in line with want. Invalid UTF-8
// becomes U+FFFD.
func checkJSON(t *testing.T, line string, want map[string]string) {
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("not JSON: %v: %s", err, line)
	}
	for key, value := range want {
		if key == "listener" && value == "" {
			if _, there := fields[key]; there {
				t.Errorf("an empty listener is in %s", line)
			}
			continue
		}
		if got, valid := fields[key], string([]rune(value)); got != valid {
			t.Errorf("%s is %q, want %q", key, got, valid)
		}
	}
}

var (
	sampleInfo = session.Info{ID: session.ID{1, 2, 3}, Client: netip.MustParseAddrPort("192.0.2.7:40112")}
	sampleSum  = session.Summary{Info: sampleInfo, Cause: session.ClientClosed, Code: 1000,
		Duration: 83_456 * time.Millisecond,
		From:     [2]session.Traffic{{Messages: 120, Bytes: 7680}, {Messages: 4000, Bytes: 512_000}}}
	sampleNames = Names{Route: "ws.example.com/ws", Pool: "chat", Backend: "ws1"}
)

func TestSessionLinesFollowLevelAndFormat(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, JSON, slog.LevelInfo)
	l.SessionOpened(&sampleInfo, sampleNames, Opened{})
	l.SetFormatLevel(Text, slog.LevelInfo)
	l.SessionClosed(&sampleSum, sampleNames)
	l.SetFormatLevel(Text, slog.LevelWarn)
	l.SessionOpened(&sampleInfo, sampleNames, Opened{})
	l.SessionClosed(&sampleSum, sampleNames)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], `{"time":"`) || !strings.HasPrefix(lines[1], "time=") {
		t.Fatalf("got %q, want a line of JSON and one of text", lines)
	}
	if !strings.Contains(lines[1], " duration=83.456 ") {
		t.Errorf("no duration=83.456 in %s", lines[1])
	}
}

func TestSessionLinesDoNotAllocate(t *testing.T) {
	for _, format := range []string{JSON, Text} {
		l := newTestLog(t, io.Discard, format)
		for range 2000 { // until the buffers have grown
			l.SessionClosed(&sampleSum, sampleNames)
		}
		if n := testing.AllocsPerRun(2000, func() {
			l.SessionOpened(&sampleInfo, sampleNames, Opened{})
			l.SessionClosed(&sampleSum, sampleNames)
		}); n != 0 {
			t.Errorf("%s: %v allocations per session, want none", format, n)
		}
	}
}

func BenchmarkSessionLines(b *testing.B) {
	for _, format := range []string{JSON, Text} {
		b.Run(format, func(b *testing.B) {
			l := newTestLog(b, io.Discard, format)
			b.ReportAllocs()
			for b.Loop() {
				l.SessionOpened(&sampleInfo, sampleNames, Opened{})
				l.SessionClosed(&sampleSum, sampleNames)
			}
			b.ReportMetric(float64(l.Dropped()), "dropped")
		})
	}
}
