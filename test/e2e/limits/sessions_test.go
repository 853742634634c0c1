//go:build unix

package limits

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// closes is the series of sessions that ended so.
func closes(cause string, code int) string {
	return fmt.Sprintf("holdfast_session_closes_total{cause=%q,code=\"%d\"}", cause, code)
}

// wantClosed reads to the end and wants a Close.
func wantClosed(t *testing.T, w *wspeer.Conn, code int, reason string) {
	t.Helper()
	w.SetDeadline(time.Now().Add(testkit.Patience))
	var err error
	for err == nil {
		_, err = w.Message()
	}
	var closed *wspeer.CloseError
	if !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		t.Errorf("got %v, want a Close with %d %q", err, code, reason)
	}
}

// Each route has its own limits for live sessions. A session that exceeds one ends with a
// cause of its own, the same for the client, the backend, the log and the metrics.
func TestLiveSessions(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		backend := kit.StartScripted(t)
		yaml := func(most string) string {
			return file(backend.Address, engine, fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0"}]
limits: {max_message: %s, messages_per_second: 5, exceed: close}
routes:
  - {match: {path: /large}, pool: main, limits: {max_message: 0, messages_per_second: 0}}
  - {match: {path: /slowly}, pool: main, limits: {exceed: throttle}}
  - {match: {path: /stuck}, pool: main, limits: {slow_consumer_timeout: 1s}}
  - {match: {path: /loose}, pool: main, limits: {frames: pass}}
  - {pool: main}
`, most))
		}
		b := kit.StartBalancer(t, yaml("1000"))
		var w, s *wspeer.Conn
		open := func(path string) {
			t.Helper()
			dialled := make(chan *wspeer.Conn, 1)
			go func() {
				w, _, err := kit.DialFrom(t, one, b.Address, path)
				if err != nil {
					t.Error(err)
				}
				dialled <- w
			}()
			s = backend.Next(t).Accept(t)
			w = testkit.Receive(t, "a session", dialled)
		}
		message := func(from, to *wspeer.Conn, text string) {
			t.Helper()
			for _, c := range []*wspeer.Conn{from, to} {
				c.SetDeadline(time.Now().Add(testkit.Patience))
			}
			if err := from.SendText(text); err != nil {
				t.Fatal(err)
			}
			if got, err := to.Message(); err != nil || got != text {
				t.Fatalf("sent %.40q, came %.40q, %v", text, got, err)
			}
		}
		end := func(cause, limit, side string, code int) {
			t.Helper()
			w.Close()
			s.Close()
			attrs := []string{"cause=" + cause, fmt.Sprintf("close_code=%d", code)}
			if limit != "" {
				attrs = append(attrs, "limit="+limit, "exceeded_by="+side)
			}
			b.FindLog(t, "session closed", 0, attrs...)
			b.AwaitMetrics(t, cause, func(m kit.Metrics) bool { return m[closes(cause, code)] == 1 })
		}
		large := strings.Repeat("x", 1000)

		open("/")
		message(w, s, large)
		message(s, w, large+large)
		w.SendText(large + "x")
		wantClosed(t, w, 1009, "message too big")
		wantClosed(t, s, 1001, "going away")
		end("message_too_big", "max_message", "client", 1009)

		open("/large")
		for range 20 {
			message(w, s, large+large)
		}
		w.Close()
		s.Close()

		open("/")
		for range 12 {
			w.SendText("spam")
		}
		wantClosed(t, w, 1008, "rate limit exceeded")
		wantClosed(t, s, 1001, "going away")
		end("rate_limited", "messages_per_second", "client", 1008)

		open("/slowly")
		began := time.Now()
		for range 12 {
			message(w, s, "steady")
		}
		if took := time.Since(began); took < time.Second {
			t.Errorf("12 messages took %v at 5 a second", took)
		}
		w.Close()
		s.Close()

		open("/stuck")
		flood := wspeer.Frame{Fin: true, Op: wspeer.Binary, Payload: make([]byte, 50_000)}
		flooded := make(chan struct{})
		go func() {
			defer close(flooded)
			s.SetDeadline(time.Now().Add(testkit.Patience))
			for s.Send(flood) == nil {
			}
		}()
		b.FindLog(t, "session closed", 0, "cause=slow_consumer", "limit=slow_consumer_timeout", "exceeded_by=client")
		w.Close()
		<-flooded
		s.Close()

		open("/loose")
		reserved := w.Encode(wspeer.Frame{Fin: true, Op: wspeer.Text, Payload: []byte("loose")})
		reserved[0] |= 0x20
		w.Write(reserved)
		if _, err := s.ReadFrame(); err == nil || !strings.Contains(err.Error(), "reserved bits") {
			t.Errorf("the backend got %v, want the reserved bit", err)
		}
		w.Close()
		s.Close()

		open("/")
		w.Write(reserved)
		wantClosed(t, w, 1002, "protocol error")
		end("client_protocol_error", "", "", 1002)

		// A reload is for new sessions.
		open("/")
		before, backendBefore := w, s
		b.WriteConfig(t, yaml("10"))
		b.Reload(t, "reloaded")
		message(before, backendBefore, large)
		open("/")
		w.SendText(large)
		wantClosed(t, w, 1009, "message too big")
		w.Close()
		s.Close()
		before.Close()
		backendBefore.Close()
		b.AwaitMetrics(t, "nothing is kept", func(m kit.Metrics) bool { return m["holdfast_backlog_bytes"] == 0 })
	})
}
