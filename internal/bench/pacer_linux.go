package bench

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// precisely runs f on a thread of its own whose sleeps are exact to some
// microseconds: Go's own timers, which wait in epoll_wait, are up to a
// millisecond late in a process that is otherwise idle, and all of that would
// count as latency.
func precisely(f func(pacer)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine, and its timer
		// slack with it.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		f(pacer{sleep: nanosleep})
	}()
	<-done
}

func nanosleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // cut short by a signal: the caller looks at the clock
}
