//go:build unix

package socketio

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// example is the whole example, as npm start runs it.
type example struct {
	*process.Process
	url       string
	temporary string // its folder for temporary files
}

// startExample starts it in a process group of its own.
func startExample(t *testing.T) example {
	t.Helper()
	ports := freePorts(t, 2)
	cmd := exec.Command("node", filepath.Join(kit.ModulePath("examples/socketio"), "start.js"),
		"--port", ports[0], "--admin", ports[1], "--holdfast", kit.Binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	temporary := t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	e := example{process.Start(t, "start.js", cmd), "http://127.0.0.1:" + ports[0], temporary}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // if the test has failed
	e.Stdout.Find(t, "the address of the page", 0, func(line string) bool {
		return line == "open http://localhost:"+ports[0]
	})
	return e
}

// freePorts returns ports that the system gives to no connection by itself.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for len(ports) < n {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 12_000+rand.N(20_000)))
		if err != nil {
			continue
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// awaitGone waits until no process of the group is left, and then there is no file either.
func (e example) awaitGone(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "the end of all processes", func() bool {
		all, err := exec.Command("ps", "-A", "-o", "pgid=,stat=,args=").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(all)) {
			f := strings.Fields(line)
			if len(f) > 1 && f[0] == fmt.Sprint(e.Cmd.Process.Pid) && !strings.HasPrefix(f[1], "Z") {
				return false
			}
		}
		return true
	})
	if left, err := os.ReadDir(e.temporary); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

// TestStart: the command of the example starts everything and ends everything, also if it is
// killed. Who joins a room gets what is there.
func TestStart(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	answer, err := http.Get(e.url)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !strings.Contains(string(page), "board.js") {
		t.Errorf("the page is %s:\n%s", answer.Status, page)
	}
	for range 2 { // the second crowd finds the notes and lines of the first
		out, err := exec.Command("node", filepath.Join(kit.ModulePath("examples/socketio"), "crowd.js"), "--url", e.url,
			"--clients", "4", "--rooms", "1", "--every", "50", "--for", "2", "--answer-time", fmt.Sprint(testkit.Patience.Milliseconds())).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "no client has noticed anything") {
			t.Errorf("the crowd: %v\n%s", err, out)
		}
	}
	e.Signal(t, syscall.SIGTERM)
	if status := e.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("exit status %d", status)
	}
	e.awaitGone(t)

	e = startExample(t)
	e.Signal(t, syscall.SIGKILL)
	e.Wait(t, testkit.Patience)
	e.awaitGone(t)
}
