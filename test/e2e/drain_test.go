//go:build unix

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// drainFile is a configuration whose pool "main" has backends and keys, such as
// "drain: {timeout: 6s}".
func drainFile(engine string, backends []*startedBackend, keys ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\n", engine)
	fmt.Fprintf(&b, "pools:\n  main:\n")
	for _, key := range keys {
		fmt.Fprintf(&b, "    %s\n", key)
	}
	fmt.Fprintf(&b, "    backends:\n")
	for i, backend := range backends {
		fmt.Fprintf(&b, "      - {name: %s, address: %q}\n", backendName(i), backend.address)
	}
	return b.String()
}

// What is undrained in time keeps its sessions.
func TestUndrainKeepsSessions(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 2)
		b := balance(t, drainFile(engine, backends, "drain: {timeout: 6s, spread: 4s}"))
		c := gather(t, "member", b.address, 100)
		b.awaitSessions(t, 100)
		b.holdfast(t, 0, "drain", "main/a", "--timeout", "2m")
		newcomers := gather(t, "newcomer", b.address, 20)
		b.await(t, "newcomers on b", func(m metrics) bool {
			return m[`holdfast_backend_sessions{backend="a",pool="main"}`] == 50 && m[`holdfast_backend_sessions{backend="b",pool="main"}`] == 70
		})
		if status := b.holdfast(t, 0, "status"); !strings.Contains(status, "drain") {
			t.Errorf("status says %q", status)
		}
		b.holdfast(t, 0, "drain", "main/a", "--timeout", "2h") // asked again: later
		b.holdfast(t, 0, "undrain", "main/a")
		b.await(t, "a is up", func(m metrics) bool { return m[`holdfast_backend_state{backend="a",pool="main",state="up"}`] == 1 })
		c.disperse(t)
		newcomers.disperse(t)
		at := reports(t, backends)
		f := &faults{t: t}
		for _, m := range append(c.members, newcomers.members...) {
			checkComplete(f, m, at[m.id])
		}
		f.sum("sessions")

		if out := b.holdfast(t, 1, "drain", "main/nobody"); !strings.Contains(out, `there is no backend "main/nobody"`) {
			t.Errorf("of an unknown backend it says %q", out)
		}
		b.stop(t)
	})
}

// holdfast runs a command of the binary against the balancer, and returns what
// it wrote.
func (b *balancer) holdfast(t testing.TB, status int, args ...string) string {
	t.Helper()
	cmd := exec.Command(holdfast, append(args, "--admin", b.admin)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("holdfast %v: %v, want status %d: %s", args, err, status, out)
	}
	return string(out)
}
