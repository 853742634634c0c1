package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// parents maps each process to its parent.
func parents() map[int]int {
	all := map[int]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has exited in the meantime
		}
		// The command's name, in parentheses, may contain any characters.
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) > 1 {
			all[pid], _ = strconv.Atoi(fields[1])
		}
	}
	return all
}

// family returns a process and all its descendants.
func family(pid int) []int {
	all, of := []int{pid}, parents()
	for i := 0; i < len(all); i++ {
		for child, parent := range of {
			if parent == all[i] {
				all = append(all, child)
			}
		}
	}
	return all
}

// cpu returns the CPU time of the processes from their CPU clocks. It is the sum of
// utime and stime of /proc/PID/stat, but in ns instead of ticks of 10 ms.
func cpu(pids []int) (t time.Duration) {
	for _, p := range pids {
		var ts unix.Timespec
		// clock_getcpuclockid(3) computes the clock ID in this way.
		if unix.ClockGettime(int32(^p<<3|2), &ts) == nil {
			t += time.Duration(ts.Nano())
		}
	}
	return t
}

// pss returns the proportional set size of the processes, in bytes.
func pss(pids []int) (bytes int64) {
	for _, p := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			w := strings.Fields(lines.Text())
			if len(w) > 1 && w[0] == "Pss:" {
				kib, _ := strconv.ParseInt(w[1], 10, 64)
				bytes += kib << 10
			}
		}
		f.Close()
	}
	return bytes
}

// stop stops a process started by this program, and its descendants.
func stop(c *exec.Cmd) {
	all := family(c.Process.Pid)
	_ = c.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = c.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		for _, p := range all {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
		<-done
	}
}
