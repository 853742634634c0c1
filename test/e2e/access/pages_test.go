//go:build unix

package access

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestPages: a browser's pages of the same site can open WebSockets, on whatever port
// they are, and those of another site can't, until the configuration lists them.
func TestPages(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<!doctype html><p>a page") }))
	t.Cleanup(site.Close)
	_, page, _ := net.SplitHostPort(site.Listener.Addr().String())
	servers := kit.StartAllNamed(t, "a")
	b := kit.StartBalancer(t, kit.PoolFile("auto", servers, "", ""))
	_, port, _ := net.SplitHostPort(b.Address)

	open := func(tries ...[2]string) (seen []string) {
		for i := range tries {
			tries[i][1] = "ws://" + tries[i][1] + ":" + port + "/ws"
			if tries[i][0] != "sandbox" {
				tries[i][0] = "http://" + tries[i][0] + ":" + page + "/"
			}
		}
		task, err := json.Marshal(map[string]any{"chromium": kit.Chromium(t), "tries": tries})
		if err != nil {
			t.Fatal(err)
		}
		cmd := kit.Node(t, "pages.js", string(task))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &seen)
		}
		if err != nil || len(seen) != len(tries) {
			t.Fatalf("%q, %v", out, err)
		}
		return seen
	}
	const same, other, refused = "app.example.com", "example.com.evil.test", "error"
	seen := open([][2]string{
		{same, "ws.example.com"}, {"ws.example.com", "ws.example.com"}, {"localhost", "localhost"}, {"127.0.0.1", "127.0.0.1"},
		{other, "ws.example.com"}, {"stranger.github.io", "me.github.io"}, {"localhost", "127.0.0.1"}, {same, "ws.example.com"}, {"sandbox", "ws.example.com"},
	}...)
	if got, want := strings.Join(seen, " "), "open open open open error error error open error"; got != want {
		t.Errorf("the pages saw %q, want %q", got, want)
	}
	for _, what := range []string{"http://" + other + ":" + page, "http://stranger.github.io:" + page, "http://localhost:" + page, "null"} {
		b.Stderr.Find(t, "the refusal of "+what, 0, func(line string) bool {
			return strings.Contains(line, `"result":"origin_refused"`) && strings.Contains(line, `the origin \"`+what+`\" is of another site than the host`)
		})
	}
	if m := b.Metrics(t); m[`holdfast_handshakes_total{result="origin_refused"}`] != 4 {
		t.Errorf("the metrics have\n%v", m)
	}

	b.WriteConfig(t, kit.PoolFile("auto", servers, "", "routes: [{pool: main, origins: [\"http://*.evil.test:*\"]}]"))
	b.Reload(t, kit.Reloaded)
	if got := strings.Join(open([2]string{other, "ws.example.com"}, [2]string{same, "ws.example.com"}), " "); got != "open "+refused {
		t.Errorf("after a reload the pages saw %q", got)
	}
	b.Stop(t)
}
