//go:build unix

package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// output reads what a demo prints, line by line.
type output struct {
	t     *testing.T
	lines chan string
}

func readOutput(t *testing.T, r io.Reader) *output {
	o := &output{t, make(chan string, 100)}
	go func() {
		defer close(o.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			o.lines <- s.Text()
		}
	}()
	return o
}

// find returns the submatches in the next line that matches pattern.
func (o *output) find(pattern string) []string {
	o.t.Helper()
	timeout := time.After(testTimeout)
	for {
		select {
		case line, ok := <-o.lines:
			if !ok {
				o.t.Fatalf("the output ended without %q", pattern)
			}
			o.t.Log(line)
			if m := regexp.MustCompile(pattern).FindStringSubmatch(line); m != nil {
				return m
			}
		case <-timeout:
			o.t.Fatalf("no line %q", pattern)
		}
	}
}

// running is a demo that Run runs.
type running struct {
	out     *output
	addr    string
	address map[string]string // of the servers
	pid     map[string]int
	cancel  context.CancelFunc
	done    chan error
}

func runDemo(t *testing.T, servers int) *running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	d := &running{
		out: readOutput(t, r), cancel: cancel, done: make(chan error, 1),
		address: map[string]string{}, pid: map[string]int{},
	}
	go func() {
		d.done <- Run(ctx, Options{Listen: "127.0.0.1:0", Servers: servers, Stdout: w, Executable: exe, Balance: forward})
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		for range d.out.lines { // until Run has returned
		}
	})
	for i := range servers {
		m := d.out.find(`^server (chat-\d) \(pid (\d+)\) listens on (127\.0\.0\.1:\d+)$`)
		if m[1] != fmt.Sprintf("chat-%d", i+1) {
			t.Fatalf("server %d is %s", i+1, m[1])
		}
		d.pid[m[1]], _ = strconv.Atoi(m[2])
		d.address[m[1]] = m[3]
	}
	d.addr = d.out.find(`^open http://(.*)$`)[1]
	return d
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestDemo(t *testing.T) {
	d := runDemo(t, 3)
	var pages []*page
	for _, name := range []string{"chat-1", "chat-2", "chat-3"} {
		p := openPage(t, d.address[name], "")
		if p.welcome.Server != name || p.welcome.PID != d.pid[name] {
			t.Errorf("%s (pid %d) welcomes with %+v", name, d.pid[name], p.welcome)
		}
		pages = append(pages, p)
		// Else Ctrl-C in a terminal would end it before the balancer.
		if group, err := syscall.Getpgid(d.pid[name]); group != d.pid[name] {
			t.Errorf("%s is in process group %d, %v; want its own, %d", name, group, err, d.pid[name])
		}
	}
	pages[0].post("hello")
	for _, p := range pages {
		p.want("hello")
	}
	front := openPage(t, d.addr, "")
	front.want("hello")

	// From the page.
	pages[1].write(fromClient{Type: "crash"})
	d.out.find(fmt.Sprintf(`^server chat-2 \(pid %d\) ended: killed; restarting$`, d.pid["chat-2"]))
	// By hand.
	if err := syscall.Kill(d.pid["chat-3"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.out.find(fmt.Sprintf(`^server chat-3 \(pid %d\) ended: killed; restarting$`, d.pid["chat-3"]))
	pages[0].post("while two are away")
	pages[0].want("while two are away")
	for range 2 {
		m := d.out.find(`^server (chat-\d) \(pid (\d+)\) listens on (.*)$`)
		if m[3] != d.address[m[1]] || m[2] == strconv.Itoa(d.pid[m[1]]) {
			t.Errorf("%s is back with pid %s on %s; it was %d on %s", m[1], m[2], m[3], d.pid[m[1]], d.address[m[1]])
		}
		d.pid[m[1]], _ = strconv.Atoi(m[2])
		p := openPage(t, m[3], "?after=1&epoch="+front.welcome.Epoch)
		p.want("while two are away")
	}

	d.cancel()
	pages[0].wantClose(websocket.StatusGoingAway)
	if err := <-d.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	for name, pid := range d.pid {
		if alive(pid) {
			t.Errorf("%s (pid %d) is alive", name, pid)
		}
	}
}

// A server that was stopped (SIGSTOP) cannot end by itself.
func TestRunEndsServersThatHang(t *testing.T) {
	d := runDemo(t, 1)
	if err := syscall.Kill(d.pid["chat-1"], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.cancel()
	if err := <-d.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if alive(d.pid["chat-1"]) {
		t.Error("it is alive")
	}
}

// The balancer closes before the servers do.
func TestServersOutliveTheBalancer(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	err = Run(ctx, Options{
		Listen: "127.0.0.1:0", Servers: 2, Stdout: io.Discard, Executable: exe,
		Balance: func(ctx context.Context, _ string, backends []Backend, _ func(string)) error {
			cancel(errors.New("signal"))
			for _, b := range backends {
				openPage(t, b.Address, "") // fails the test if the server is gone
			}
			return context.Cause(ctx)
		},
	})
	if err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRunTellsWhatFailed(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inUse, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	tests := []struct {
		name, broken string
		options      Options
		want         string
	}{
		{"no servers", "", Options{Executable: exe}, "demo: 0 servers: at least 1 is needed"},
		{"no such binary", "", Options{Executable: "/nowhere/holdfast", Servers: 1},
			"demo: server chat-1: fork/exec /nowhere/holdfast: no such file or directory"},
		{"server that fails", "yes", Options{Executable: exe, Servers: 2},
			"demo: server chat-1 did not start: broken on purpose"},
		{"port in use", "", Options{Executable: exe, Servers: 1, Listen: inUse.Addr().String()},
			"listen tcp " + inUse.Addr().String() + ": bind: address already in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TEST_DEMO_BROKEN", tt.broken)
			tt.options.Stdout, tt.options.Balance = io.Discard, forward
			if err := Run(t.Context(), tt.options); err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestBrowsableAddress(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080", "[::]:8080": "127.0.0.1:8080", "0.0.0.0:80": "127.0.0.1:80",
		":8080": "127.0.0.1:8080", "[::1]:8080": "[::1]:8080", "box:8080": "box:8080",
	} {
		if got := browsable(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestLineWriter(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(s string) { got = append(got, s) }}
	for _, s := range []string{"a", "b\r\n\nc\nd", "e", strings.Repeat("x", maxLine), "f\n"} {
		if n, err := io.WriteString(w, s); n != len(s) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	want := []string{"ab", "", "c", "de" + strings.Repeat("x", maxLine), "f"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q", got, want)
	}
}
