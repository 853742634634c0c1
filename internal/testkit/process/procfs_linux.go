package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Descriptors returns the number of open file descriptors of the process.
func (p *Process) Descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// Resident returns the resident memory of the process, in bytes.
func (p *Process) Resident(t testing.TB) int { t.Helper(); return p.memory(t, "VmRSS:") }

// Peak returns the highest resident memory since ResetPeak, in bytes.
func (p *Process) Peak(t testing.TB) int { t.Helper(); return p.memory(t, "VmHWM:") }

// ProcessorTime returns the processor time that the process has used so far.
func (p *Process) ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// Fields 14 and 15, in ticks of 10 ms; the name, field 2, is in brackets.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// ResetPeak makes Peak start again from the present memory.
func (p *Process) ResetPeak(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.Cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// memory returns a value of /proc/PID/status, in bytes.
func (p *Process) memory(t testing.TB, of string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), of)
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("%s in %q: %v", of, status, err)
	}
	return n << 10
}
