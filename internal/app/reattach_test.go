package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func reattachFile(engine, on string, backends ...string) string {
	text := "pools:\n  chat:\n    reattach: {on: " + on + ", timeout: 2s}\n    drain: {timeout: 0s, spread: 0s}\n    backends:\n"
	for i, address := range backends {
		text += fmt.Sprintf("      - {name: %c, address: %q, weight: %d}\n", 'a'+i, address, 256>>(4*i))
	}
	return pools(engine, text)
}

func (r *running) drain(backend string) {
	r.t.Helper()
	pool, name, _ := strings.Cut(backend, "/")
	if _, err := r.client().Drain(context.Background(), pool, name, ""); err != nil {
		r.t.Fatal(err)
	}
}

// Sessions of a drained backend are moved and their clients notice nothing; log,
// metrics and the admin interface show the new backend.
func TestReattach(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		r := start(t, reattachFile(engine, "[drain, loss]", backend(t, "one"), backend(t, "two")))
		w := r.open("/")
		w.echo("1", "one: 1")
		r.drain("chat/a")
		testkit.Eventually(t, "the session is with b", func() bool {
			_, body := get("http://" + r.AdminAddr() + "/v1/sessions")
			return strings.Contains(body, `"backend": "b"`) && !strings.Contains(body, `"backend": "a"`)
		})
		w.echo("2", "two: 2")
		r.wantEach(map[string]int{"a": 0, "b": 1})
		var metrics string
		testkit.Eventually(t, "the move is done", func() bool { // b has kept the session for a moment
			_, metrics = get("http://" + r.AdminAddr() + "/metrics")
			return strings.Contains(metrics, `result="moved"} 1`)
		})
		for _, line := range []string{
			`holdfast_reattach_total{backend="a",pool="chat",reason="drain",result="moved"} 1`,
			`holdfast_reattach_gap_seconds_count{backend="a",pool="chat"} 1`, `holdfast_messages_total{backend="a",direction="from_client",pool="chat"} 1`,
			`holdfast_messages_total{backend="b",direction="from_client",pool="chat"} 1`, `holdfast_messages_total{backend="b",direction="from_backend",pool="chat"} 1`,
			`holdfast_backend_sessions{backend="b",pool="chat"} 1`,
		} {
			if !strings.Contains(metrics, line+"\n") {
				t.Errorf("no %s in\n%s", line, metrics)
			}
		}
		w.Close(websocket.StatusNormalClosure, "")
		testkit.Eventually(t, "the log has the session's end", func() bool { return strings.Contains(r.log.String(), "session closed") })
		for line := range strings.Lines(r.log.String()) {
			switch {
			case strings.Contains(line, "session moved"):
				for _, want := range []string{"chat", "drain", "gap"} {
					if !strings.Contains(line, want) {
						t.Errorf("no %s in %s", want, line)
					}
				}
			case strings.Contains(line, "session closed") && !strings.Contains(line, "client_closed"):
				t.Errorf("the end is told as %s", line)
			}
		}
		if !strings.Contains(r.log.String(), "session moved") {
			t.Errorf("the log is\n%s", r.log)
		}
	})
}

// A pool with reattach on loss only closes sessions on a drain. Sessions that no
// backend accepts are closed with 1012.
func TestReattachFails(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Holdfast-Reattach") != "" {
				http.Error(w, "I don't know this session", http.StatusNotFound)
				return
			}
			ws, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer ws.CloseNow() // a bare end
			ws.Read(r.Context())
		}))
		t.Cleanup(one.Close)
		file := reattachFile(engine, "loss", strings.TrimPrefix(one.URL, "http://"))
		r := start(t, file)
		w := r.open("/")
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		w.Write(ctx, websocket.MessageText, []byte("end"))
		w.wantClose(1012)
		testkit.Eventually(t, "the log tells of it", func() bool {
			log := r.log.String()
			return strings.Contains(log, "session not moved") && strings.Contains(log, "refused") && strings.Contains(log, "backend_lost")
		})

		r.mustReload(reattachFile(engine, "loss", backend(t, "one"), backend(t, "two")))
		w = r.open("/")
		w.echo("1", "one: 1")
		r.drain("chat/a")
		w.wantClose(websocket.StatusGoingAway)
		if _, metrics := get("http://" + r.AdminAddr() + "/metrics"); !strings.Contains(metrics, `holdfast_reattach_total{backend="a",pool="chat",reason="loss",result="refused"} 1`) ||
			strings.Contains(metrics, `reason="drain",result="moved"`) {
			t.Errorf("counted wrongly:\n%s", metrics)
		}
	})
}
