//go:build unix

package kits

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// conformity is the output of holdfast doctor --protocol --json.
type conformity struct {
	URLs   []string
	Fix    int
	Checks []struct{ Check, Result, Found, Advice string }
}

// examine runs the doctor on two Socket.IO servers. Those without a defect are also killed
// and restarted.
func examine(t *testing.T, defects ...string) (c conformity) {
	t.Helper()
	redis, dir := redistest.Start(t), t.TempDir()
	pidFile := func(i int) string { return filepath.Join(dir, fmt.Sprint("pid.", i)) }
	args := []string{"doctor", "--protocol", "socketio", "--json", "--max-gap", "1m", "--sessions", "8"}
	if len(defects) == 0 {
		args = append(args, "--timeout", "20s") // a slow machine isn't a defect
	}
	for i := 1; i <= 2; i++ {
		p := peer(t, socketIO, "conformance.js", append([]string{"ws://127.0.0.1:0", redis.URL(), pidFile(i)}, defects...)...)
		args = append(args, event(t, p, "listening", 0)["url"].(string))
	}
	if len(defects) == 0 {
		script := kit.ModulePath("kits/socketio/test/peers/conformance.js")
		args = append(args, "--kill", fmt.Sprintf("kill -9 $(cat %s/pid.$HOLDFAST_SERVER)", dir),
			"--start", fmt.Sprintf("exec node %s $HOLDFAST_URL %s %s/pid.$HOLDFAST_SERVER", script, redis.URL(), dir))
		t.Cleanup(func() { // those that --start has started
			for i := 1; i <= 2; i++ {
				text, err := os.ReadFile(pidFile(i))
				if pid, parsed := strconv.Atoi(string(text)); err == nil && parsed == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		})
	}
	out := kit.Run(t, args...)
	if err := json.Unmarshal([]byte(out.Stdout), &c); err != nil {
		t.Fatalf("%v: it said %s%s", err, out.Stdout, out.Stderr)
	}
	if (out.Status == 1) != (c.Fix > 0) || out.Status > 1 || len(c.Checks) != 12 || len(c.URLs) != 2 {
		t.Errorf("status %d with %d things to fix of %d: %s", out.Status, c.Fix, len(c.Checks), out.Stderr)
	}
	return c
}

// with returns the names of checks with a result.
func (c conformity) with(result string) (names []string) {
	for _, check := range c.Checks {
		if check.Result == result {
			names = append(names, check.Check)
		}
	}
	return names
}

// Servers with the kit pass, also if they are killed.
func TestConformance(t *testing.T) {
	t.Parallel()
	if c := examine(t); len(c.with("ok")) != len(c.Checks) {
		t.Errorf("%+v", c)
	}
}

// Without the kit, no session survives, and the doctor says what to use.
func TestConformanceOfStockServers(t *testing.T) {
	t.Parallel()
	c := examine(t, "stock")
	if got := c.with("fix"); !slices.Contains(got, "drain") || !slices.Contains(got, "loss") || slices.Contains(got, "application") {
		t.Errorf("to fix %v: %+v", got, c)
	}
	for _, check := range c.Checks {
		if check.Check == "drain" && !strings.Contains(check.Advice, "holdfast-socketio") {
			t.Errorf("%+v", check)
		}
	}
}

// Each defect of a broken kit is found.
func TestConformanceOfBrokenKits(t *testing.T) {
	for _, b := range []struct {
		defects []string
		want    []string // checks
	}{
		{[]string{"repeat", "lose"}, []string{"lost", "doubled", "acks"}},
		{[]string{"forget"}, []string{"state"}},
	} {
		t.Run(strings.Join(b.defects, "+"), func(t *testing.T) {
			t.Parallel()
			c := examine(t, b.defects...)
			for _, check := range b.want {
				if !slices.Contains(c.with("fix"), check) {
					t.Errorf("%s wasn't found: %+v", check, c)
				}
			}
		})
	}
}
