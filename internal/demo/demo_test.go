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

	"github.com/holdfast-ws/holdfast/internal/admin"
)

const testTimeout = time.Minute

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

// server waits until a server has a state, or is gone if that is "".
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

// until waits for a status.
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

// order is a POST to the controls.
func (d *running) order(path string) (status int, text string) {
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
	if status, text := d.order(path); status != http.StatusNoContent {
		d.t.Fatalf("%s: %d %s", path, status, text)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// Whatever happens to the servers, no guest needs a second connection.
func TestGuestsStay(t *testing.T) {
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
	d.until("all are there", even(2))
	first := d.server("chat-1", serving)
	// Else Ctrl-C in a terminal would end it before the balancer.
	if group, err := syscall.Getpgid(first.PID); group != first.PID {
		t.Errorf("chat-1 is in process group %d, %v; want its own, %d", group, err, first.PID)
	}

	d.must("drain?server=chat-1")
	d.out.find(fmt.Sprintf(`^server chat-1 \(pid %d\) is drained and has ended: exit status 0$`, first.PID))
	d.server("chat-1", "")
	if status, text := d.order("drain?server=chat-2"); status != http.StatusConflict || text != "chat-2 is the only one that serves: add another first\n" {
		t.Errorf("drain of the last: %d %s", status, text)
	}
	d.until("all are with the other", even(1))
	d.must("add")
	d.until("the new one has half of them", even(2))

	second := d.server("chat-2", serving)
	d.must("kill?server=chat-2")
	d.out.find(fmt.Sprintf(`^server chat-2 \(pid %d\) ended: killed; restarting$`, second.PID))
	d.until("it is back", even(2))
	if again := d.server("chat-2", serving); again.PID == second.PID {
		t.Errorf("chat-2 has still pid %d", again.PID)
	}
	d.until("nobody came back by a new connection", func(st status) bool {
		// Each of the three takes half of them somewhere else, and the killed one gets its share again.
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
			t.Errorf("pid %d is alive", pid)
		}
	}
}

// Nor where there is no other server: they are held until it is back.
func TestGuestsStayWithTheOnlyServer(t *testing.T) {
	const guests = 20
	d := runDemo(t, Options{Servers: 1, Guests: guests})
	all := func(st status) bool {
		return len(st.Servers) == 1 && st.Servers[0].Sessions == guests && st.Guests.Sessions == guests
	}
	d.until("all are there", all)
	killed := d.server("chat-1", serving)
	d.must("kill?server=chat-1")
	d.until("all go on", func(st status) bool {
		if st.Guests.Sessions != guests || st.Guests.Reconnects != 0 {
			t.Fatalf("guests: %+v", st.Guests)
		}
		return all(st) && st.Servers[0].State == serving && st.Servers[0].PID != killed.PID && st.Guests.Moves == guests
	})
}

func TestOrdersThatAreRefused(t *testing.T) {
	d := runDemo(t, Options{Servers: MostServers})
	for path, want := range map[string]string{
		"drain?server=chat-0": "404 there is no such server\n",
		"kill":                "404 there is no such server\n",
		"add":                 "409 there are 9 servers, and no more can be had\n",
	} {
		if status, text := d.order(path); fmt.Sprint(status, " ", text) != want {
			t.Errorf("%s: %d %s, want %s", path, status, text, want)
		}
	}
	d.must("kill?server=chat-3")
	d.server("chat-3", down)
	for _, path := range []string{"drain?server=chat-3", "kill?server=chat-3"} {
		if status, text := d.order(path); status != http.StatusConflict || text != "chat-3 is down\n" {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// What is refused is not done.
func TestOtherSitesCantGiveOrders(t *testing.T) {
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
			t.Errorf("%s may be sniffed", path)
		}
	}
}

// lastLook looks at the balancer's backends when it is to shut down.
type lastLook struct {
	Balancer
	look func([]admin.Backend)
}

func (l lastLook) Shutdown(ctx context.Context) int {
	for _, p := range l.Status().Pools {
		if p.Name == chatPool {
			l.look(p.Backends)
		}
	}
	return l.Balancer.Shutdown(ctx)
}

// The balancer closes before the servers do.
func TestServersOutliveTheBalancer(t *testing.T) {
	looked := 0
	d := runDemo(t, Options{Servers: 2, Balance: func(file string) (Balancer, error) {
		b, err := balance(file)
		return lastLook{b, func(backends []admin.Backend) {
			for _, b := range backends {
				conn, err := net.DialTimeout("tcp", b.Address, time.Second)
				if err != nil {
					t.Errorf("%s: %v", b.Name, err)
					continue
				}
				conn.Close()
				looked++
			}
		}}, err
	}})
	d.cancel()
	if err := <-d.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if looked != 2 {
		t.Errorf("%d servers were there, want 2", looked)
	}
}

// A server that was stopped (SIGSTOP) cannot end by itself.
func TestRunEndsServersThatHang(t *testing.T) {
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
		t.Error("it is alive")
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
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	tests := []struct {
		name, broken string
		options      Options
		want         string
	}{
		{"no servers", "", Options{Executable: exe}, "demo: 0 servers: 1 to 9 can be had"},
		{"no such binary", "", Options{Executable: "/nowhere/holdfast", Servers: 1},
			"demo: server chat-1: fork/exec /nowhere/holdfast: no such file or directory"},
		{"server that fails", "yes", Options{Executable: exe, Servers: 2},
			"demo: server chat-1 did not start: broken on purpose"},
		{"port in use", "", Options{Executable: exe, Servers: 1, Listen: inUse.Addr().String()},
			`listener "` + inUse.Addr().String() + `": listen tcp ` + inUse.Addr().String() + ": bind: address already in use"},
		{"no URL", "", Options{Executable: exe, Servers: 1, Redis: "localhost:6379"},
			"demo: --redis: redis: invalid URL scheme: localhost"},
		{"no Redis", "", Options{Executable: exe, Servers: 1, Redis: "redis://" + nobody.Addr().String()},
			"demo: --redis " + nobody.Addr().String() + ": dial tcp " + nobody.Addr().String() + ": connect: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TEST_DEMO_BROKEN", tt.broken)
			tt.options.Stdout, tt.options.LogLevel, tt.options.Balance = io.Discard, "warn", balance
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
