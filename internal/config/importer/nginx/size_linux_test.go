package nginx

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestLargeFiles: the work grows with the length of a file, not with its square. On a quiet
// machine, 10,000 lines are parsed in 10 ms, and imported and checked in 0.2 s
// (BenchmarkLarge), but a test may not depend on that.
func TestLargeFiles(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func(text string) time.Duration {
		least := time.Hour
		for range 3 {
			runtime.GC()
			begin := threadTime(t)
			importText(t, text)
			least = min(least, threadTime(t)-begin)
		}
		return least
	}
	cpu(large(500)) // what is made once
	short, long := large(1_250), large(20_000)
	a, b := cpu(short), cpu(long)
	t.Logf("1,250 lines: %s, 20,000 lines: %s of CPU", a, b)
	if b > 64*a { // in proportion it is 16 times as long; by the square, 256 times
		t.Errorf("1,250 lines take %s of CPU, and 20,000 lines %s", a, b)
	}
}

func threadTime(t *testing.T) time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(syscall.TimevalToNsec(u.Utime) + syscall.TimevalToNsec(u.Stime))
}
