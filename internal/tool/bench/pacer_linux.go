package bench

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// withPrecisePacer runs f on a thread of its own, with a pacer whose sleeps are
// precise to a few microseconds. Go's timers wait in epoll_wait and may be a
// millisecond late in an idle process, which would be measured as latency.
func withPrecisePacer(f func(pacer)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Not unlocked, so that the thread with its modified timer slack ends
		// with the goroutine.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		f(pacer{sleep: nanosleep})
	}()
	<-done
}

func nanosleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // if interrupted by a signal, run sleeps again
}
