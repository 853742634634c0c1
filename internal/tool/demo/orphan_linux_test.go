package demo

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// When the demo is killed, its servers must exit by themselves.
func TestServersExitWhenDemoIsKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "demo-parent")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // a killed demo doesn't remove its files
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	defer kill()

	out := readOutput(t, stdout)
	var servers []unix.PollFd
	for range 2 {
		m := out.find(`^server chat-\d \(pid (\d+)\)`)
		pid, _ := strconv.Atoi(m[1])
		// A pidfd reports the exit even if nobody reaps the orphan.
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			// In case the test has failed.
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			_ = unix.Close(fd)
		}()
		servers = append(servers, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	url := out.find(`^open http(://.*)$`)[1]
	conn, _, err := websocket.Dial(t.Context(), "ws"+url+"/ws", nil) // a client must not delay the exit
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	kill()

	deadline := time.Now().Add(testTimeout)
	for i := range servers {
		for {
			n, err := unix.Poll(servers[i:i+1], int(time.Until(deadline).Milliseconds()))
			if err == unix.EINTR {
				continue
			}
			if n != 1 || err != nil {
				t.Fatalf("a server is still running: %v", err)
			}
			break
		}
	}
}
