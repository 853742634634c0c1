//go:build unix

package docs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// An unchanged server gets everything that needs no change in it: clients of a
// room are on one server, and get a Close frame when their server is stopped or
// killed.
func TestMinimalExample(t *testing.T) {
	text, err := os.ReadFile(kit.ModulePath("examples/minimal/holdfast.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var replace []string
	servers := map[string]*process.Process{}
	for i, name := range []string{"a", "b"} {
		cmd := kit.NodeExample(t, "minimal")
		cmd.Env = append(os.Environ(), "PORT=0")
		servers[name] = process.Start(t, "minimal "+name, cmd)
		var port int
		servers[name].Stdout.Find(t, "port", 0, func(line string) bool {
			n, _ := fmt.Sscanf(line, "listening on port %d", &port)
			return n == 1
		})
		replace = append(replace, fmt.Sprint("127.0.0.1:", 3001+i), fmt.Sprint("127.0.0.1:", port))
	}
	b := kit.StartBalancer(t, strings.NewReplacer(append(replace, ":8080", "127.0.0.1:0", "127.0.0.1:9900", "127.0.0.1:0")...).Replace(string(text)))

	talk := func() (one, two *wspeer.Conn) {
		t.Helper()
		pair := kit.OpenMany(t, b.Address, "/?room=lobby", 2)
		for _, from := range pair {
			if err := from.SendText("hello"); err != nil {
				t.Fatal(err)
			}
			for _, to := range pair {
				if got, err := to.Message(); err != nil || got != "hello" {
					t.Fatalf("got %q, %v", got, err)
				}
			}
		}
		return pair[0], pair[1]
	}
	home := func() string {
		t.Helper()
		m := b.Metrics(t)
		for name := range servers {
			if m[fmt.Sprintf(`holdfast_backend_sessions{backend=%q,pool="minimal"}`, name)] == 2 {
				return name
			}
		}
		t.Fatalf("the room isn't on one server: %v", m)
		return ""
	}
	expectClose := func(w *wspeer.Conn, want wspeer.CloseError) {
		t.Helper()
		_, err := w.Message()
		if c, ok := err.(*wspeer.CloseError); !ok || *c != want {
			t.Errorf("the session ended with %v, want %v", err, &want)
		}
		w.SendClose(want.Code, "")
	}

	one, two := talk()
	first := home()
	b.Command(t, 0, "drain", "minimal/"+first, "--timeout", "1s")
	expectClose(one, wspeer.CloseError{Code: 1001, Reason: "going away"})
	expectClose(two, wspeer.CloseError{Code: 1001, Reason: "going away"})
	b.AwaitSessions(t, 0)

	one, two = talk()
	second := home()
	if second == first {
		t.Errorf("%s is drained and gets sessions", first)
	}
	b.Command(t, 0, "undrain", "minimal/"+first)
	servers[second].Kill(t)
	expectClose(one, wspeer.CloseError{Code: 1012, Reason: "server lost"})
	expectClose(two, wspeer.CloseError{Code: 1012, Reason: "server lost"})
	b.AwaitSessions(t, 0)
	one, two = talk()
	kit.CutAll([]*wspeer.Conn{one, two})
	b.AwaitSessions(t, 0)
	b.Stop(t)
}
