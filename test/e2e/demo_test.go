//go:build unix

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// demo is a running `holdfast demo`.
type demo struct {
	*process
	url string
}

func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{process: startHoldfast(t, "demo", "--listen", "127.0.0.1:0")}
	line := d.stdout.find(t, "address", 0, func(line string) bool { return strings.HasPrefix(line, "open http://") })
	d.url = strings.TrimPrefix(line, "open ")
	return d
}

// pids are the processes of all servers that there have been.
func (d *demo) pids(t *testing.T) (pids []int) {
	t.Helper()
	started := regexp.MustCompile(`(?m)^server chat-\d \(pid (\d+)\) listens on `)
	for _, m := range started.FindAllStringSubmatch(d.stdout.text(), -1) {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("Chromium is missing: run scripts/setup-tests.sh")
	}
	return path
}

// What node/demo.js saw on one page.
type seen struct {
	Texts      []string
	IDs        []int
	Closes     []int
	Complaints []string
}

// Two people chat, one of them crashes a server from the page, another is
// killed by hand: they are connected again, and the chat is whole.
func TestDemoInBrowser(t *testing.T) {
	d := startDemo(t)
	pictures := t.TempDir()
	browser := start(t, "browser", node(t, "demo.js", d.url, chromium(t), pictures))
	var result struct {
		Servers struct {
			Ann, Bob []struct {
				Name string
				PID  int
			}
		}
		Ann, Bob seen
	}
	line := browser.stdout.find(t, "result", 0, func(string) bool { return true })
	if err := json.Unmarshal([]byte(line), &result); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	t.Log(line)

	texts := []string{"hello Bob", "hello Ann", "while it is down 1", "while it is down 2", "while it is down 3",
		"mine is gone", "I see", "back again"}
	for name, s := range map[string]seen{"Ann": result.Ann, "Bob": result.Bob} {
		// Messages sent at the same time may come in either order, but in the
		// same one to both.
		if !slices.Equal(s.IDs, []int{1, 2, 3, 4, 5, 6, 7, 8}) || !slices.Equal(s.Texts, result.Ann.Texts) ||
			!slices.Equal(slices.Sorted(slices.Values(s.Texts)), slices.Sorted(slices.Values(texts))) {
			t.Errorf("%s sees %q, ids %v", name, s.Texts, s.IDs)
		}
		if len(s.Complaints) > 0 {
			t.Errorf("errors on %s's page: %q", name, s.Complaints)
		}
		// 1012 for servers that were lost, 1000 for the button.
		for _, code := range s.Closes {
			if code != 1012 && code != 1000 {
				t.Errorf("%s's connections closed with %v", name, s.Closes)
			}
		}
		if !slices.Contains(s.Closes, 1012) {
			t.Errorf("%s's connections closed with %v, want a 1012", name, s.Closes)
		}
	}
	if last := result.Bob.Closes[len(result.Bob.Closes)-1]; last != 1000 {
		t.Errorf("Bob's last close is %d, want 1000", last)
	}
	for _, servers := range [][]struct {
		Name string
		PID  int
	}{result.Servers.Ann, result.Servers.Bob} {
		if servers[0].PID == servers[1].PID {
			t.Errorf("served by the same process after its end: %v", servers)
		}
		if !slices.Contains(d.pids(t), servers[1].PID) {
			t.Errorf("served by %v, which the demo didn't tell of: %v", servers[1], d.pids(t))
		}
	}
	for _, name := range []string{"chat.png", "after-kill.png"} {
		if info, err := os.Stat(filepath.Join(pictures, name)); err != nil || info.Size() < 10_000 {
			t.Errorf("screenshot %s: %v", name, err)
		}
	}

	d.interrupt(t)
	browser.stdin.Close()
	sameJSON(t, "the pages' last Close", browser.stdout.find(t, "last closes", 1, func(string) bool { return true }),
		`{"ann":1001,"bob":1001}`)
	if status := browser.wait(t, patience); status != 0 {
		t.Errorf("the browser's script ended with status %d", status)
	}
}

// interrupt ends the demo as Ctrl-C does, and all its servers with it.
func (d *demo) interrupt(t *testing.T) {
	t.Helper()
	pids := d.pids(t)
	d.signal(t, os.Interrupt)
	if status := d.wait(t, patience); status != 0 {
		t.Errorf("the demo's exit status is %d", status)
	}
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("server %d is still there", pid)
		}
	}
	if len(pids) < 3 {
		t.Errorf("servers %v, want at least 3", pids)
	}
}

func TestDemoPortInUse(t *testing.T) {
	address := taken(t)
	o := run(t, "demo", "--listen", address)
	oneLine(t, o, 1, address, "address already in use")
	for _, m := range regexp.MustCompile(`\(pid (\d+)\)`).FindAllStringSubmatch(o.stdout, -1) {
		if pid, _ := strconv.Atoi(m[1]); syscall.Kill(pid, 0) == nil {
			t.Errorf("server %d is left behind", pid)
		}
	}
}
