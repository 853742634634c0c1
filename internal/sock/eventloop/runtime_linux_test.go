package eventloop

import (
	"iter"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// The tests in this file hold Go's runtime to what the loops assume of it. No
// documentation of Go promises these things, so each new release is tested
// (scripts/go-versions.sh, and CONTRIBUTING.md about the assumptions).

// TestCoroutineStaysOnItsThread: a coroutine of iter.Pull runs on the thread of
// the goroutine that resumes it, so that a task keeps the loop's processor.
func TestCoroutineStaysOnItsThread(t *testing.T) {
	next, stop := iter.Pull(func(yield func(int) bool) {
		for yield(unix.Gettid()) {
		}
	})
	defer stop()
	const rounds = 1000
	same := 0
	for range rounds {
		if thread, _ := next(); thread == unix.Gettid() {
			same++
		}
	}
	// The scheduler may move the goroutine between the two readings, but not
	// often.
	if same < rounds/2 {
		t.Errorf("a coroutine ran on the thread of its caller in %d of %d switches", same, rounds)
	}
}

// TestCoroutineGoesPastTheScheduler: a switch between a goroutine and its
// coroutine makes neither of them wait in a run queue, where others could come
// first.
func TestCoroutineGoesPastTheScheduler(t *testing.T) {
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		for yield(struct{}{}) {
		}
	})
	defer stop()
	next()
	const rounds = 10_000
	before := scheduled(t)
	for range rounds {
		next()
	}
	n := scheduled(t) - before
	// The runtime counts every eighth time that a goroutine leaves a run queue.
	// A channel in place of the coroutine gives a quarter of the rounds.
	if n > rounds/16 {
		t.Errorf("goroutines left a run queue %d times in %d switches", 8*n, rounds)
	}
}

// scheduled returns how often the runtime has noted how long a goroutine was in
// a run queue.
func scheduled(t *testing.T) (n uint64) {
	t.Helper()
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindFloat64Histogram {
		t.Fatalf("%s is of kind %v", s[0].Name, s[0].Value.Kind())
	}
	for _, c := range s[0].Value.Float64Histogram().Counts {
		n += c
	}
	return n
}

// rawWaiter waits in epoll_pwait without telling the scheduler, as a hot loop
// does, and without a timeout.
type rawWaiter struct {
	wake        int // an eventfd that ends the wait
	interrupted int // by signals
	ended       chan int32
}

// Tags of the descriptors that a rawWaiter waits for.
const (
	tagEnd     = 1
	tagTimeout = 2
)

// startRawWaiter starts a rawWaiter on a goroutine. A timer of the kernel ends
// the wait after testkit.Patience: timers of Go don't fire while the world is
// being stopped.
func startRawWaiter(t *testing.T) *rawWaiter {
	t.Helper()
	must := func(fd int, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	ep := must(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	w := &rawWaiter{wake: must(unix.Eventfd(0, unix.EFD_CLOEXEC)), ended: make(chan int32, 1)}
	timer := must(unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC))
	limit := unix.ItimerSpec{Value: unix.NsecToTimespec(testkit.Patience.Nanoseconds())}
	if err := unix.TimerfdSettime(timer, 0, &limit, nil); err != nil {
		t.Fatal(err)
	}
	for fd, tag := range map[int]int32{w.wake: tagEnd, timer: tagTimeout} {
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: tag}); err != nil {
			t.Fatal(err)
		}
	}
	started := make(chan struct{})
	go func() {
		close(started)
		events := make([]unix.EpollEvent, 1)
		for {
			n, e := epollWaitRaw(ep, events, -1)
			if n == 1 && e == 0 {
				w.ended <- events[0].Fd
				return
			}
			w.interrupted++
		}
	}()
	<-started
	return w
}

// end ends the wait, and checks that it didn't last until its timeout.
func (w *rawWaiter) end(t *testing.T, what string) {
	t.Helper()
	unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if <-w.ended == tagTimeout {
		t.Errorf("%s had to wait for a goroutine in a raw epoll_pwait", what)
	}
	t.Logf("the wait was interrupted %d times", w.interrupted)
}

// TestCollectorInterruptsRawWait: to stop the world, the runtime sends a signal
// to a thread in a system call that the scheduler doesn't know of.
func TestCollectorInterruptsRawWait(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	w := startRawWaiter(t)
	time.Sleep(time.Millisecond) // it waits by then, usually
	var m runtime.MemStats
	for range 10 {
		runtime.GC()
		runtime.ReadMemStats(&m) // stops the world, too
	}
	w.end(t, "the garbage collector")
}

// TestRawWaitIsPreempted: a goroutine in a raw wait has a processor. If there is
// no other, the runtime takes it away with a signal so that others can run.
func TestRawWaitIsPreempted(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := startRawWaiter(t)
	for range 5 {
		runtime.Gosched() // to the waiter, and back
	}
	w.end(t, "another goroutine")
}
