//go:build unix

package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

const testTimeout = 5 * time.Minute

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

// running is a running demo.
type running struct {
	t      *testing.T
	out    *output
	url    string
	cancel context.CancelFunc
	done   chan error
}

func runDemo(t *testing.T, o Options) *running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	d := &running{t: t, out: readOutput(t, r), cancel: cancel, done: make(chan error, 1)}
	o.Listen, o.LogLevel, o.Stdout, o.Executable = "127.0.0.1:0", "warn", w, exe
	if o.Balance == nil {
		o.Balance = balance
	}
	go func() {
		d.done <- Run(ctx, o)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		for range d.out.lines { // until Run has returned
		}
	})
	d.url = d.out.find(`^open (http://.*)$`)[1]
	return d
}

// server waits until a server has the given state, or doesn't exist if that is "".
func (d *running) server(name string, want state) (found row) {
	d.t.Helper()
	d.until(fmt.Sprintf("%s is %q", name, want), func(st status) bool {
		found = row{}
		for _, s := range st.Servers {
			if s.Name == name {
				found = s
			}
		}
		return found.State == want
	})
	return found
}

// until waits until is returns true for the status.
func (d *running) until(what string, is func(status) bool) {
	d.t.Helper()
	var st status
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(d.url + "/demo/status")
		if err != nil {
			d.t.Fatal(err)
		}
		st = status{}
		err = json.NewDecoder(response.Body).Decode(&st)
		response.Body.Close()
		if err != nil {
			d.t.Fatal(err)
		}
		if is(st) {
			return
		}
	}
	d.t.Fatalf("never: %s; the last: %+v, guests %+v", what, st.Servers, st.Guests)
}

// post sends a POST to the controls.
func (d *running) post(path string) (status int, text string) {
	d.t.Helper()
	response, err := http.Post(d.url+"/demo/"+path, "", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func (d *running) must(path string) {
	d.t.Helper()
	if status, text := d.post(path); status != http.StatusNoContent {
		d.t.Fatalf("%s: %d %s", path, status, text)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// Whatever happens to the servers, no guest needs a second connection.
func TestGuestsKeepTheirConnections(t *testing.T) {
	const guests = 30
	d := runDemo(t, Options{Servers: 2, Guests: guests})
	even := func(n int) func(status) bool {
		return func(st status) bool {
			sum := 0
			for _, s := range st.Servers {
				if s.Sessions < guests/n-2 || s.Sessions > guests/n+2 {
					return false
				}
				sum += s.Sessions
			}
			return len(st.Servers) == n && sum == guests && st.Guests.Sessions == guests
		}
	}
	d.until("all guests are connected", even(2))
	first := d.server("chat-1", serving)
	// Otherwise Ctrl-C in a terminal would stop it before the balancer.
	if group, err := syscall.Getpgid(first.PID); group != first.PID {
		t.Errorf("chat-1 is in process group %d, %v; want its own, %d", group, err, first.PID)
	}

	d.must("drain?server=chat-1")
	d.out.find(fmt.Sprintf(`^server chat-1 \(pid %d\) is drained and has exited: exit status 0$`, first.PID))
	d.server("chat-1", "")
	if status, text := d.post("drain?server=chat-2"); status != http.StatusConflict || text != "chat-2 is the only one that serves: add another first\n" {
		t.Errorf("drain of the last: %d %s", status, text)
	}
	d.until("all sessions are on the other server", even(1))
	d.must("add")
	d.until("the new server has half of them", even(2))

	second := d.server("chat-2", serving)
	d.must("kill?server=chat-2")
	d.out.find(fmt.Sprintf(`^server chat-2 \(pid %d\) has died: killed; restarting$`, second.PID))
	d.until("the server is back", even(2))
	if again := d.server("chat-2", serving); again.PID == second.PID {
		t.Errorf("chat-2 still has pid %d", again.PID)
	}
	d.until("no guest has reconnected", func(st status) bool {
		// Each of the three moves half of the guests, and the killed server gets its share again.
		return st.Guests.Reconnects == 0 && st.Guests.Moves >= 4*guests/2-8
	})

	var pids []int
	d.until("", func(st status) bool {
		for _, s := range st.Servers {
			pids = append(pids, s.PID)
		}
		return true
	})
	d.cancel()
	if err := <-d.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("pid %d is still running", pid)
		}
	}
}

// If there is no other server, the connections are held until it is back.
func TestGuestsWaitForTheOnlyServer(t *testing.T) {
	const guests = 20
	d := runDemo(t, Options{Servers: 1, Guests: guests})
	all := func(st status) bool {
		return len(st.Servers) == 1 && st.Servers[0].Sessions == guests && st.Guests.Sessions == guests
	}
	d.until("all guests are connected", all)
	killed := d.server("chat-1", serving)
	d.must("kill?server=chat-1")
	d.until("all guests have moved", func(st status) bool {
		if st.Guests.Sessions != guests || st.Guests.Reconnects != 0 {
			t.Fatalf("guests: %+v", st.Guests)
		}
		return all(st) && st.Servers[0].State == serving && st.Servers[0].PID != killed.PID && st.Guests.Moves == guests
	})
}

func TestRefusedRequests(t *testing.T) {
	d := runDemo(t, Options{Servers: MaxServers})
	for path, want := range map[string]string{
		"drain?server=chat-0": "404 there is no such server\n",
		"kill":                "404 there is no such server\n",
		"add":                 "409 there are already 9 servers, which is the maximum\n",
	} {
		if status, text := d.post(path); fmt.Sprint(status, " ", text) != want {
			t.Errorf("%s: %d %s, want %s", path, status, text, want)
		}
	}
	d.must("kill?server=chat-3")
	d.server("chat-3", down)
	for _, path := range []string{"drain?server=chat-3", "kill?server=chat-3"} {
		if status, text := d.post(path); status != http.StatusConflict || text != "chat-3 is down\n" {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// Requests from other sites are refused and have no effect.
func TestOtherSitesAreRefused(t *testing.T) {
	d := runDemo(t, Options{Servers: 1})
	pid := d.server("chat-1", serving).PID
	for name, change := range map[string]func(*http.Request){
		"of another site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"of another origin": func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
		"by another's name": func(r *http.Request) { r.Host = "evil.example" },
		"by a link":         func(r *http.Request) { r.Method = "GET" },
	} {
		r, err := http.NewRequest("POST", d.url+"/demo/kill?server=chat-1", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode < 400 || response.StatusCode > 499 {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	if now := d.server("chat-1", serving).PID; now != pid {
		t.Errorf("pid %d is now %d", pid, now)
	}
}

func TestPageHasTheControls(t *testing.T) {
	d := runDemo(t, Options{Servers: 1})
	for path, want := range map[string]string{
		"/":                  `<script src="/demo/controls.js" type="module"></script>`,
		"/demo/controls.js":  "/demo/status",
		"/demo/controls.css": "{",
	} {
		response, err := http.Get(d.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %v, no %s in it", path, response.Status, err, want)
		}
		if response.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", path)
		}
	}
}

// inspector calls inspect with the balancer's backends at the beginning of Shutdown.
type inspector struct {
	Balancer
	inspect func([]api.Backend)
}

func (l inspector) Shutdown(ctx context.Context) int {
	for _, p := range l.Status().Pools {
		if p.Name == chatPool {
			l.inspect(p.Backends)
		}
	}
	return l.Balancer.Shutdown(ctx)
}

// The balancer is stopped before the servers.
func TestBalancerStopsFirst(t *testing.T) {
	reachable := 0
	d := runDemo(t, Options{Servers: 2, Balance: func(file string) (Balancer, error) {
		b, err := balance(file)
		return inspector{b, func(backends []api.Backend) {
			for _, b := range backends {
				conn, err := net.DialTimeout("tcp", b.Address, time.Second)
				if err != nil {
					t.Errorf("%s: %v", b.Name, err)
					continue
				}
				conn.Close()
				reachable++
			}
		}}, err
	}})
	d.cancel()
	if err := <-d.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if reachable != 2 {
		t.Errorf("%d servers were reachable, want 2", reachable)
	}
}

// A server stopped with SIGSTOP can't exit by itself.
func TestRunKillsHangingServers(t *testing.T) {
	d := runDemo(t, Options{Servers: 1})
	pid := d.server("chat-1", serving).PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.cancel()
	if err := <-d.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if alive(pid) {
		t.Error("the server is still running")
	}
}

func TestBrowserAddress(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080", "[::]:8080": "127.0.0.1:8080", "0.0.0.0:80": "127.0.0.1:80",
		":8080": "127.0.0.1:8080", "[::1]:8080": "[::1]:8080", "box:8080": "box:8080",
	} {
		if got := browserAddress(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
