//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// settings are what the configuration files of these tests differ in.
type settings struct {
	engine   string
	backends []string // addresses, of pool "main"
	more     string   // further top-level YAML
}

// yaml is the file. Port 0 is taken everywhere, so that no test can clash with
// anything; where the balancer listens stands in its log.
func (s settings) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{name: public, address: \"127.0.0.1:0\"}]\n")
	fmt.Fprintf(&b, "admin: {address: \"127.0.0.1:0\"}\n")
	fmt.Fprintf(&b, "engine: %s\n", s.engine)
	fmt.Fprintf(&b, "pools:\n  main:\n    backends:\n")
	for i, address := range s.backends {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", backendName(i), address)
	}
	return b.String() + s.more + "\n"
}

func backendName(i int) string { return string(rune('a' + i)) }

// balancer is a running `holdfast run -c FILE`.
type balancer struct {
	*process
	file    string
	address string
	admin   string
}

// balance starts a balancer and waits until it serves.
func balance(t testing.TB, yaml string) *balancer {
	t.Helper()
	b := &balancer{file: filepath.Join(t.TempDir(), "holdfast.yaml")}
	b.write(t, yaml)
	b.process = startHoldfast(t, "run", "-c", b.file)
	b.ready(t)
	return b
}

func startHoldfast(t testing.TB, args ...string) *process {
	t.Helper()
	return start(t, "holdfast", exec.Command(holdfast, args...))
}

// ready waits until the balancer serves, and learns where.
func (b *balancer) ready(t testing.TB) {
	t.Helper()
	started := b.log(t, "started", 0)
	b.address = started["listeners"].([]any)[0].(string)
	b.admin = started["admin"].(string)
}

// write replaces the configuration file.
func (b *balancer) write(t testing.TB, yaml string) {
	t.Helper()
	if err := os.WriteFile(b.file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
}

// log waits for a line of the log, from position on, whose message is msg and
// that has all the given attributes, in the form key=value.
func (b *balancer) log(t testing.TB, msg string, position int, attrs ...string) (entry map[string]any) {
	t.Helper()
	what := fmt.Sprintf("log line %q %v", msg, attrs)
	b.stderr.find(t, what, position, func(line string) bool {
		e, ok := parseLog(line, msg)
		entry = e
		return ok && !slices.ContainsFunc(attrs, func(attr string) bool {
			key, value, _ := strings.Cut(attr, "=")
			return fmt.Sprint(e[key]) != value
		})
	})
	return entry
}

func parseLog(line, msg string) (entry map[string]any, ok bool) {
	if !strings.Contains(line, `"msg":"`+msg+`"`) {
		return nil, false
	}
	ok = json.Unmarshal([]byte(line), &entry) == nil
	return entry, ok
}

// logged are the lines with the message msg so far.
func (b *balancer) logged(msg string) (entries []map[string]any) {
	all, _, _, _ := b.stderr.after(0)
	for _, line := range all {
		if e, ok := parseLog(line, msg); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

// hangUp has the file read again, and waits for what the log says of it: msg.
func (b *balancer) hangUp(t testing.TB, msg string) map[string]any {
	t.Helper()
	before := b.stderr.position()
	b.signal(t, syscall.SIGHUP)
	return b.log(t, msg, before)
}

// What the log says of a reload.
const (
	reloaded      = "reloaded"
	reloadRefused = "reload refused; nothing has changed"
)

// get asks the admin address. Nothing is kept alive, so that asking leaves no
// connection behind to be counted.
func (b *balancer) get(t testing.TB, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err := client.Get("http://" + b.admin + path)
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

// metrics are the values of a scrape by series, as in name{label="x"}.
type metrics map[string]float64

// String is what a test that fails may want to see of them.
func (m metrics) String() string {
	var all []string
	for series, value := range m {
		if value != 0 && strings.HasPrefix(series, "holdfast_") && !strings.Contains(series, "_bucket{") {
			all = append(all, fmt.Sprintf("%s %v", series, value))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (b *balancer) metrics(t testing.TB) metrics {
	t.Helper()
	_, body := b.get(t, "/metrics")
	m := metrics{}
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
	}
	return m
}

// await asks for the metrics until ok holds for them, and returns them then.
func (b *balancer) await(t testing.TB, what string, ok func(metrics) bool) metrics {
	t.Helper()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for until := time.Now().Add(patience); ; <-pause.C {
		m := b.metrics(t)
		if ok(m) {
			return m
		}
		if time.Now().After(until) {
			t.Fatalf("not %s within %v: %v", what, patience, m)
		}
	}
}

func (b *balancer) awaitSessions(t testing.TB, n int) metrics {
	t.Helper()
	return b.await(t, fmt.Sprintf("%d sessions", n), func(m metrics) bool {
		return m["holdfast_sessions_active"] == float64(n)
	})
}

// stop ends the balancer politely and expects status 0.
func (b *balancer) stop(t testing.TB) {
	t.Helper()
	b.signal(t, syscall.SIGTERM)
	if status := b.wait(t, patience); status != 0 {
		t.Errorf("exit status %d", status)
	}
}
