//go:build unix

package kit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
)

// Settings make a configuration file with one pool, "main".
type Settings struct {
	Engine   string
	Backends []string // addresses, of pool "main"
	More     string   // further top-level YAML
}

// YAML returns the file. All ports are 0, so that no test can get in another's
// way; the balancer logs the addresses that it got.
func (s Settings) YAML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{name: public, address: \"127.0.0.1:0\"}]\n")
	fmt.Fprintf(&b, "admin: {address: \"127.0.0.1:0\"}\n")
	fmt.Fprintf(&b, "engine: %s\n", s.Engine)
	fmt.Fprintf(&b, "pools:\n  main:\n    backends:\n")
	for i, address := range s.Backends {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", BackendName(i), address)
	}
	return b.String() + withoutPings(s.More) + "\n"
}

// withoutPings adds to keys of a configuration that clients get no pings, unless they say
// when clients do. Most clients of tests don't answer pings while they are idle, which is
// long on a slow machine.
func withoutPings(keys string) string {
	if strings.Contains(keys, "keepalive:") {
		return keys
	}
	return keys + "\nkeepalive: {interval: 0}"
}

// BackendName returns the name of the i-th backend: a, b, ...
func BackendName(i int) string { return string(rune('a' + i)) }

// Balancer is a running `holdfast run -c FILE`.
type Balancer struct {
	*process.Process
	File    string // its configuration
	Address string // for clients
	Admin   string // address; "" if there is none
	Socket  string // path of the admin socket; "" if there is none
}

// StartBalancer starts a balancer and waits until it serves.
func StartBalancer(t testing.TB, yaml string) *Balancer {
	t.Helper()
	b := &Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
	b.WriteConfig(t, yaml)
	b.Process = StartHoldfast(t, "run", "-c", b.File)
	b.AwaitReady(t)
	return b
}

// StartHoldfast starts the binary under test with arguments. It has a folder of its own for
// its admin socket, and keeps what is changed at run time beside its file.
func StartHoldfast(t testing.TB, args ...string) *process.Process {
	t.Helper()
	cmd := exec.Command(Binary, args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Dir(testkit.SocketPath(t)))
	if i := slices.Index(args, "-c"); i >= 0 && i+1 < len(args) {
		cmd.Env = append(cmd.Env, "STATE_DIRECTORY="+filepath.Join(filepath.Dir(args[i+1]), "state"))
	}
	return process.Start(t, "holdfast", cmd)
}

// AwaitReady waits until the balancer serves, and sets its addresses.
func (b *Balancer) AwaitReady(t testing.TB) {
	t.Helper()
	started := b.FindLog(t, "started", 0)
	b.Address = started["listeners"].([]any)[0].(string)
	b.Admin, b.Socket = started["admin"].(string), started["admin_socket"].(string)
}

// WriteConfig replaces the configuration file. Unless yaml sets it, shutdowns
// have no delay, which tests would wait for.
func (b *Balancer) WriteConfig(t testing.TB, yaml string) {
	t.Helper()
	if !strings.Contains(yaml, "\nshutdown:") {
		yaml += "\nshutdown: {delay: 0}\n"
	}
	if err := os.WriteFile(b.File, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
}

// FindLog waits for a line of the log, from position on, that has the message
// msg and all the attributes, in the form key=value.
func (b *Balancer) FindLog(t testing.TB, msg string, position int, attrs ...string) (entry map[string]any) {
	t.Helper()
	what := fmt.Sprintf("log line %q %v", msg, attrs)
	b.Stderr.Find(t, what, position, func(line string) bool {
		e, ok := ParseLog(line, msg)
		entry = e
		return ok && !slices.ContainsFunc(attrs, func(attr string) bool {
			key, value, _ := strings.Cut(attr, "=")
			return fmt.Sprint(e[key]) != value
		})
	})
	return entry
}

// ParseLog parses a line of the log; ok is false if its message isn't msg.
func ParseLog(line, msg string) (entry map[string]any, ok bool) {
	if !strings.Contains(line, `"msg":"`+msg+`"`) {
		return nil, false
	}
	ok = json.Unmarshal([]byte(line), &entry) == nil
	return entry, ok
}

// LogEntries returns the lines with the message msg so far.
func (b *Balancer) LogEntries(msg string) (entries []map[string]any) {
	for _, line := range b.Stderr.Lines(0) {
		if e, ok := ParseLog(line, msg); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

// Reload makes the balancer read its file again, and waits for msg in the log:
// Reloaded or ReloadRefused.
func (b *Balancer) Reload(t testing.TB, msg string) map[string]any {
	t.Helper()
	before := b.Stderr.Position()
	b.Signal(t, syscall.SIGHUP)
	return b.FindLog(t, msg, before)
}

// Messages of the log about a reload.
const (
	Reloaded      = "reloaded"
	ReloadRefused = "reload refused; nothing has changed"
)

// Get sends a GET to the admin address, on a connection of its own.
func (b *Balancer) Get(t testing.TB, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Patience}
	res, err := client.Get("http://" + b.Admin + path)
	// The balancer closes a connection on which no request comes for 5 s, which a busy
	// machine can make of this one.
	for tries := 1; errors.Is(err, io.EOF) && tries < 5; tries++ {
		res, err = client.Get("http://" + b.Admin + path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(all)
}

// Metrics are the values of a scrape by series, such as name{label="x"}. For
// series with the label backend, there is also the sum over all backends.
type Metrics map[string]float64

// String returns the values that aren't zero, for the message of a failure.
func (m Metrics) String() string {
	var all []string
	for series, value := range m {
		if value != 0 && strings.HasPrefix(series, "holdfast_") && !strings.Contains(series, "_bucket{") {
			all = append(all, fmt.Sprintf("%s %v", series, value))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// Metrics scrapes the metrics.
func (b *Balancer) Metrics(t testing.TB) Metrics {
	t.Helper()
	_, body := b.Get(t, "/metrics")
	m := Metrics{}
	for line := range strings.Lines(body) {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		m[line[:i]] = value
		if sum := sumOf(line[:i]); sum != line[:i] {
			m[sum] += value
		}
	}
	return m
}

var ofBackend = regexp.MustCompile(`(backend|pool)="[^"]*",?`)

// sumOf returns the name of the sum over all backends that a series belongs to,
// or its own name if there is no such sum.
func sumOf(series string) string {
	if !strings.Contains(series, "backend=") || strings.HasPrefix(series, "holdfast_backend_") {
		return series
	}
	return strings.NewReplacer(",}", "}", "{}", "").Replace(ofBackend.ReplaceAllString(series, ""))
}

// AwaitMetrics scrapes the metrics until ok returns true, and returns them.
func (b *Balancer) AwaitMetrics(t testing.TB, what string, ok func(Metrics) bool) Metrics {
	t.Helper()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for until := time.Now().Add(testkit.Patience); ; <-pause.C {
		m := b.Metrics(t)
		if ok(m) {
			return m
		}
		if time.Now().After(until) {
			t.Fatalf("not %s within %v: %v", what, testkit.Patience, m)
		}
	}
}

// AwaitSessions waits until n sessions are open.
func (b *Balancer) AwaitSessions(t testing.TB, n int) Metrics {
	t.Helper()
	return b.AwaitMetrics(t, fmt.Sprintf("%d sessions", n), func(m Metrics) bool {
		return m["holdfast_sessions_active"] == float64(n)
	})
}

// Stop ends the balancer with SIGTERM and wants status 0.
func (b *Balancer) Stop(t testing.TB) {
	t.Helper()
	b.Signal(t, syscall.SIGTERM)
	if status := b.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// DrainFile returns a configuration whose pool "main" has backends and keys, such as
// "drain: {timeout: 6s}".
func DrainFile(engine string, backends []*Backend, keys ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\n", engine)
	fmt.Fprintf(&b, "pools:\n  main:\n")
	for _, key := range keys {
		fmt.Fprintf(&b, "    %s\n", key)
	}
	fmt.Fprintf(&b, "    backends:\n")
	for i, backend := range backends {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", BackendName(i), backend.Address)
	}
	return b.String() + withoutPings("") + "\n"
}

// Command runs a command of the binary against the balancer, wants an exit
// status, and returns the output.
func (b *Balancer) Command(t testing.TB, status int, args ...string) string {
	t.Helper()
	cmd := exec.Command(Binary, append(args, "--admin", b.Admin)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("holdfast %v: %v, want status %d: %s", args, err, status, out)
	}
	return string(out)
}
