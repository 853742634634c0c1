//go:build unix

package kit

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
)

// CodeBlock matches a code block of Markdown: its language and its text.
var CodeBlock = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// program returns the program of a language in docs/backends.md. instead has pairs of
// texts to replace and their replacements, such as a free port and shorter times.
func program(t testing.TB, language string, instead ...string) string {
	t.Helper()
	text, err := os.ReadFile(ModulePath("docs/backends.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, block := range CodeBlock.FindAllStringSubmatch(string(text), -1) {
		if block[1] == language {
			found = append(found, block[2])
		}
	}
	if len(found) != 1 {
		t.Fatalf("docs/backends.md has %d programs in %s, want one", len(found), language)
	}
	for i := 0; i < len(instead); i += 2 {
		if strings.Count(found[0], instead[i]) != 1 {
			t.Fatalf("the program in %s doesn't have %q once", language, instead[i])
		}
		found[0] = strings.ReplaceAll(found[0], instead[i], instead[i+1])
	}
	return found[0]
}

// Documented starts the program of a language in docs/backends.md, with a free port and
// short times for a drain. "go" and "js" have sessions that can move, which they
// store in the directory states; "javascript" hasn't.
func Documented(t testing.TB, language, states string, instead ...string) *Backend {
	t.Helper()
	dir := t.TempDir()
	var cmd *exec.Cmd
	switch language {
	case "go":
		source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "server")
		instead = append(instead, `":3000"`, `"127.0.0.1:0"`, "/var/lib/sessions", states,
			"MaxSessions: 10000", "MaxSessions: 10000, Notice: 2e9, DrainTimeout: 5e9")
		if err := os.WriteFile(source, []byte(program(t, language, instead...)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		cmd = exec.Command(binary)
	case "js", "javascript":
		source := filepath.Join(dir, "server.js")
		instead = append(instead, "listen(3000,", `listen(0, "127.0.0.1",`, "= 15_000", "= 2_000", "= 8_000", "= 2_500")
		if language == "js" {
			instead = append(instead, "/var/lib/sessions", states)
		}
		if err := os.WriteFile(source, []byte(program(t, language, instead...)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd = Node(t, "server.js")
		cmd.Args[1] = source
		cmd.Env = append(os.Environ(), "NODE_PATH="+ModulePath("test/e2e/node/node_modules"))
	}
	s := &Backend{Process: process.Start(t, language+" server", cmd)}
	output := map[string]*testkit.Log{"go": s.Stderr, "js": s.Stdout, "javascript": s.Stdout}[language]
	output.Find(t, "address", 0, func(line string) bool {
		m := listens.FindStringSubmatch(line)
		if m != nil {
			s.Address = "127.0.0.1:" + m[1] + m[2]
		}
		return m != nil
	})
	return s
}

var listens = regexp.MustCompile(`:(\d+)"?$|port (\d+)$`)

// NodeExample returns a command that runs the server.js of examples/NAME.
func NodeExample(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("node")
	dir := filepath.Join(ModulePath("examples"), name)
	if _, missing := os.Stat(filepath.Join(dir, "node_modules/ws")); err != nil || missing != nil {
		t.Fatalf("Node.js or the npm packages of %s are missing: run scripts/setup-tests.sh", dir)
	}
	return exec.Command(program, append([]string{filepath.Join(dir, "server.js")}, args...)...)
}
