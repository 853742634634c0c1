package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// logged waits for the line with the message and these values.
func (r *running) logged(msg string, want map[string]any) {
	r.t.Helper()
	testkit.Eventually(r.t, fmt.Sprintf("the log has %q with %v", msg, want), func() bool {
		for line := range strings.Lines(r.log.String()) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) != nil || entry["msg"] != msg {
				continue
			}
			for key, value := range want {
				if entry[key] != value {
					entry = nil
					break
				}
			}
			if entry != nil {
				return true
			}
		}
		return false
	})
}

// A failure is logged with its client (through trusted proxies, as for sessions),
// its request, its pool and its backend.
func TestFailuresAreLoggedWithTheirClient(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		breaksOff := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("half"))
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}))
		defer breaksOff.Close()
		nobody, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		nobody.Close()
		r := start(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
routes: [{match: {path: /half}, pool: half}, {match: {path: /gone}, pool: gone}]
pools:
  half: {backends: [{name: breaks, address: %q}]}
  gone: {backends: [{name: nobody, address: %q}], health: {max_fails: 0}}
forwarded: {trust: [127.0.0.1]}
admin: {address: "127.0.0.1:0"}
engine: %s
`, breaksOff.Listener.Addr(), nobody.Addr(), engine))
		ask := func(path string, more ...string) {
			t.Helper()
			conn, err := net.Dial("tcp", r.Addresses()[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if more == nil {
				more = []string{"Connection: close"}
			}
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: ws.example.com\r\nX-Forwarded-For: 203.0.113.7\r\n%s\r\n", path, strings.Join(append(more, ""), "\r\n"))
			conn.SetDeadline(time.Now().Add(testkit.Patience))
			io.ReadAll(conn) // the answer's end may be missing
		}
		ask("/gone/a%22b")
		r.logged("plain HTTP request failed", map[string]any{"status": 502.0, "client": "203.0.113.7:0",
			"method": "GET", "host": "ws.example.com", "path": "/gone/a%22b", "pool": "gone", "backend": "nobody"})
		ask("/nowhere")
		r.logged("plain HTTP request failed", map[string]any{"status": 404.0, "client": "203.0.113.7:0", "path": "/nowhere", "pool": "", "backend": ""})
		ask("/half")
		r.logged("plain HTTP request failed", map[string]any{"status": 200.0, "client": "203.0.113.7:0", "pool": "half", "backend": "breaks"})

		webSocket := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}
		ask("/gone/ws", webSocket...)
		r.logged("handshake refused", map[string]any{"result": "backend_unreachable", "client": "203.0.113.7:0", "path": "/gone/ws", "pool": "gone", "backend": "nobody"})
		ask("/nowhere", webSocket...)
		r.logged("handshake refused", map[string]any{"result": "no_route", "client": "203.0.113.7:0", "pool": "", "backend": ""})
	})
}
