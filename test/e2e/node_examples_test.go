//go:build unix

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nodeExample is a command that runs the server.js of examples/NAME.
func nodeExample(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("node")
	dir := filepath.Join("../../examples", name)
	if _, missing := os.Stat(filepath.Join(dir, "node_modules/ws")); err != nil || missing != nil {
		t.Fatalf("Node.js or the npm packages of %s are missing: run scripts/setup-tests.sh", dir)
	}
	return exec.Command(program, append([]string{filepath.Join(dir, "server.js")}, args...)...)
}

// An unchanged server is given what needs nothing of it: clients of a room are
// brought together, and told politely when their server goes, or is gone.
func TestMinimalExample(t *testing.T) {
	text, err := os.ReadFile("../../examples/minimal/holdfast.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var replace []string
	servers := map[string]*process{}
	for i, name := range []string{"a", "b"} {
		cmd := nodeExample(t, "minimal")
		cmd.Env = append(os.Environ(), "PORT=0")
		servers[name] = start(t, "minimal "+name, cmd)
		var port int
		servers[name].stdout.find(t, "port", 0, func(line string) bool {
			n, _ := fmt.Sscanf(line, "listening on port %d", &port)
			return n == 1
		})
		replace = append(replace, fmt.Sprint("127.0.0.1:", 3001+i), fmt.Sprint("127.0.0.1:", port))
	}
	b := balance(t, strings.NewReplacer(append(replace, ":8080", "127.0.0.1:0", "127.0.0.1:9090", "127.0.0.1:0")...).Replace(string(text)))

	talk := func() (one, two *wire) {
		t.Helper()
		pair := openMany(t, b.address, "/?room=lobby", 2)
		for _, from := range pair {
			if err := from.sendText("hello"); err != nil {
				t.Fatal(err)
			}
			for _, to := range pair {
				if got, err := to.message(); err != nil || got != "hello" {
					t.Fatalf("got %q, %v", got, err)
				}
			}
		}
		return pair[0], pair[1]
	}
	home := func() string {
		t.Helper()
		m := b.metrics(t)
		for name := range servers {
			if m[fmt.Sprintf(`holdfast_backend_sessions{backend=%q,pool="minimal"}`, name)] == 2 {
				return name
			}
		}
		t.Fatalf("the room isn't on one server: %v", m)
		return ""
	}
	expectClose := func(w *wire, want closed) {
		t.Helper()
		_, err := w.message()
		if c, ok := err.(*closed); !ok || *c != want {
			t.Errorf("the session ended with %v, want %v", err, &want)
		}
		w.sendClose(want.code, "")
	}

	one, two := talk()
	first := home()
	b.holdfast(t, 0, "drain", "minimal/"+first, "--timeout", "1s")
	expectClose(one, closed{1001, "going away"})
	expectClose(two, closed{1001, "going away"})
	b.awaitSessions(t, 0)

	one, two = talk()
	second := home()
	if second == first {
		t.Errorf("%s is drained and gets sessions", first)
	}
	b.holdfast(t, 0, "undrain", "minimal/"+first)
	servers[second].kill(t)
	expectClose(one, closed{1012, "server lost"})
	expectClose(two, closed{1012, "server lost"})
	b.awaitSessions(t, 0)
	one, two = talk()
	cut([]*wire{one, two})
	b.awaitSessions(t, 0)
	b.stop(t)
}
