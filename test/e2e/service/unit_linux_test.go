package service

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// unit is the text of a unit of the packages.
func unit(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(kit.ModulePath("packaging/files/" + name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// analyze runs systemd-analyze, without the manager that may not be there.
func analyze(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	return string(out), err
}

// TestUnits: systemd understands the units, and finds the service well protected.
func TestUnits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"holdfast.service", "holdfast.socket"} {
		// It checks that the program is there.
		text := strings.ReplaceAll(unit(t, name), "/usr/bin/holdfast", kit.Binary)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	if out, err := analyze(t, append([]string{"verify", "--man=no"}, files...)...); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("verify: %v\n%s", err, out)
	}
	// The scale is 0 to 100; 96 is a service without protection.
	if out, err := analyze(t, "security", "--offline=yes", "--threshold=20", "--no-pager", files[0]); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// allowed are the system calls that the unit's filter leaves, as systemd reads it: the
// first line begins a list of allowed calls, and "~" removes some.
func allowed(t *testing.T) (calls []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^SystemCallFilter=(~?)(.*)$`).FindAllStringSubmatch(unit(t, "holdfast.service"), -1) {
		for word := range strings.FieldsSeq(m[2]) {
			if m[1] == "" {
				calls = append(calls, expand(t, word)...)
				continue
			}
			denied := expand(t, word)
			calls = slices.DeleteFunc(calls, func(c string) bool { return slices.Contains(denied, c) })
		}
	}
	slices.Sort(calls)
	if calls = slices.Compact(calls); len(calls) < 100 {
		t.Fatalf("the filter of the unit allows only %d calls", len(calls))
	}
	return calls
}

func expand(t *testing.T, word string) (calls []string) {
	t.Helper()
	if !strings.HasPrefix(word, "@") {
		return []string{word}
	}
	out, err := analyze(t, "syscall-filter", word)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		switch line = strings.TrimSpace(line); {
		case line == word, line == "", strings.HasPrefix(line, "#"):
		default:
			calls = append(calls, expand(t, line)...)
		}
	}
	return calls
}

// confinedRole makes this test binary install the filter of the environment and become
// the program of its arguments.
const confinedRole = "confined"

const callsEnv = "HOLDFAST_E2E_CALLS"

func confine() int {
	table, err := arch.GetInfo("")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var names []string
	for name := range strings.FieldsSeq(os.Getenv(callsEnv)) {
		if _, ok := table.SyscallNames[name]; ok { // some are of other processors
			names = append(names, name)
		}
	}
	// systemd lets a call fail, and a program may go on then. Here it ends, so that the
	// test sees every call.
	err = seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionKillProcess, Syscalls: []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: names}},
	}})
	if err == nil {
		err = syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func startConfined(t *testing.T, args ...string) *process.Process {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), kit.RoleEnv+"="+confinedRole, callsEnv+"="+strings.Join(allowed(t), " "))
	cmd.Env = append(cmd.Env, folders(t)...)
	return process.Start(t, "holdfast", cmd)
}

// TestSystemCalls: the balancer works with the system calls that the unit allows, and makes
// no other.
func TestSystemCalls(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		backends := kit.StartBackends(t, 2)
		path := testkit.SocketPath(t)
		ca := testca.New(t)
		cert, key := ca.Issue("chat.example").Files()
		b := &kit.Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
		text := file(engine, fmt.Sprintf(`{address: "127.0.0.1:0"}, {address: "unix:%s"}, {name: tls, address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}]}}`, path, cert, key),
			backends, "\nlog: {level: debug}\nshutdown: {delay: 0}\ntimeouts: {shutdown: 1s}")
		text = strings.Replace(text, "  main:\n", "  main:\n    health: {http: {path: /}, interval: 3s}\n    drain: {spread: 0s}\n", 1)
		b.WriteConfig(t, text)
		b.Process = startConfined(t, kit.Binary, "run", "-c", b.File)
		b.AwaitReady(t)
		w := open(t, "tcp", b.Address)
		open(t, "unix", path).Close()
		at := b.FindLog(t, "started", 0)["listeners"].([]any)[2].(string)
		secure, err := tls.Dial("tcp", at, &tls.Config{RootCAs: ca.Pool(), ServerName: "chat.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer secure.Close()
		ws := wspeer.NewClient(secure)
		if _, err := ws.Handshake("chat.example", "/echo", []string{"Origin: https://chat.example"}); err != nil {
			t.Fatal(err)
		}
		kit.WantEcho(t, ws, "hello")
		secure.Close()
		if _, body := b.Get(t, "/metrics"); !strings.Contains(body, "holdfast_sessions_active") {
			t.Errorf("metrics: %.200s", body)
		}
		kit.GetFrom(t, "127.0.0.1", b.Address, "/")
		b.Reload(t, kit.Reloaded)
		kit.WantEcho(t, w, "hello again")
		b.Command(t, 0, "drain", "main/a")
		b.Command(t, 0, "undrain", "main/a")
		w.Close()
		b.Signal(t, syscall.SIGTERM)
		if status := b.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("exit status %d (-1 is a system call that the unit's filter doesn't allow): %v", status, b.Cmd.ProcessState)
		}
	})
	// The test would see such a call.
	p := startConfined(t, "/bin/mount", "none", "/", "-t", "none")
	if p.Wait(t, testkit.Patience); p.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
		t.Errorf("a call that isn't allowed: %v", p.Cmd.ProcessState)
	}
}
