// Package eventloop runs sockets on epoll: one loop for each processor. A socket
// stays on its loop. Handshakes run on it as straight-line code in coroutines,
// which see a transport.Conn. Sessions, which they become afterwards, are driven
// by calls to an Owner (the epoll engine of internal/relay). The package knows
// sockets and timers; it doesn't know HTTP or WebSocket.
//
// In the code such a coroutine is a task. Nothing on a loop may block.
//
// The files are:
//
//   - loop_linux.go, group_linux.go: a loop, and all loops of the process
//   - listener_linux.go: accepting connections
//   - task_linux.go: running a handshake as a task
//   - spawn_linux.go: a task that begins without a connection
//   - turn_linux.go: tasks that take turns
//   - conn_linux.go: a connection in its handshake
//   - park_linux.go: a connection that waits without a task
//   - slab.go: slots, each for a client's socket and its backend's
//   - wheel.go, tick.go: timers, one for each slot
//   - sys_linux.go, splice_linux.go: system calls
//   - processors_linux.go: how many processors are used (GOMAXPROCS)
package eventloop

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Owner handles the events of the slots that it took over with Release. Every
// method is called on the loop's goroutine and must not block.
type Owner interface {
	// Ready reports that a socket of the slot may be read or written. Events
	// are edge-triggered: there is no other one until a Recv or Send would block.
	Ready(slot int32, side session.Side, ev Events)
	// Expired reports that the slot's timer has expired. It is disarmed.
	Expired(slot int32)
	// Again is called once, after Loop.CallAgain.
	Again()
	// BatchDone is called after each batch of events.
	BatchDone()
	// Stopped is the last call, when the loop ends. The owner closes what it
	// still owns.
	Stopped()
}

// Events are the epoll events of one socket.
type Events uint32

func (e Events) Readable() bool {
	return e&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
}
func (e Events) Writable() bool { return e&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 }

// Ended reports that the peer will send nothing more. Reading ends with EOF or an
// error, so a short read doesn't mean that everything was read.
func (e Events) Ended() bool { return e&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 }

// Reset reports that the connection has failed in both directions.
func (e Events) Reset() bool { return e&unix.EPOLLERR != 0 }

const (
	batchSize = 512
	// ReadBufferSize is the size of the one buffer a loop reads into.
	ReadBufferSize = 256 << 10

	// hotWait is how long a loop keeps its processor while there are no events.
	// Blocking the ordinary way lets the scheduler take the processor away,
	// which costs two thread switches for each wake-up: more than relaying a
	// message. Keeping it costs a preemption signal every 10 ms. So after one
	// such wait without events the loop blocks the ordinary way, and an idle
	// balancer uses no CPU. The signals interrupt epoll_pwait, so that the
	// garbage collector can always stop the loop; for other goroutines see
	// Group.SpareProcessors.
	hotWait = 10 * time.Millisecond

	// yieldEvery is how often a hot loop yields to other goroutines. Without
	// that it is preempted by a signal after 10 ms, which interrupts its wait
	// and costs several times as much.
	yieldEvery = 4 * time.Millisecond
)

// maxUnread is how many iterations of a hot loop share a reading of the clock.
const maxUnread = 4

// Tags of descriptors that don't belong to a slot.
const (
	tagWake   = -1
	tagListen = -2 // and below: tagListen - listener number
)

// Loop is one event loop. Unless documented otherwise, its methods must be called
// on it: by tasks, the Owner, and posted functions.
type Loop struct {
	// Buf is scratch space for the code that runs now.
	Buf []byte

	log    *slog.Logger
	owner  Owner
	ep     int
	wake   int
	began  time.Time
	now    atomic.Uint32 // Tick; atomic for readers on other goroutines
	since  time.Duration // began to now
	ran    time.Duration // began to when other goroutines could run last
	unread int           // iterations since the clock was read

	slots   slab
	wheel   wheel
	expired []int32
	events  []unix.EpollEvent
	again   bool
	hot     bool
	stop    bool
	done    chan struct{}

	tasks     []*task
	freeTasks []*task
	turns     turns
	parked    map[int32]*parked // by slot
	listeners map[int]*loopListener

	mu     sync.Mutex // guards the following
	posted []func()
	waking bool
	ended  bool
}

func newLoop(log *slog.Logger, began time.Time) (*Loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &Loop{Buf: make([]byte, ReadBufferSize), log: log, ep: ep, wake: wake, began: began,
		events: make([]unix.EpollEvent, batchSize), listeners: map[int]*loopListener{}, parked: map[int32]*parked{}, done: make(chan struct{})}
	l.wheel.init(0)
	err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: tagWake})
	if err != nil {
		l.closeFDs()
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return l, nil
}

// Now is the time in ticks since the loops began, as of the last wake-up. It
// may be called from any goroutine.
func (l *Loop) Now() Tick { return Tick(l.now.Load()) }

// Post runs f on the loop soon, after the functions posted before. It may be
// called from any goroutine and doesn't block. After the loop has ended it
// reports false, and f will not run.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.posted = append(l.posted, f)
	if !l.waking {
		l.waking = true
		unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return true
}

// CallAgain makes the loop call Owner.Again in this iteration or the next, before
// it sleeps.
func (l *Loop) CallAgain() { l.again = true }

// Arm sets the slot's only timer. If the tick has passed, the timer expires at the
// next one.
func (l *Loop) Arm(slot int32, at Tick) { l.wheel.arm(&l.slots, slot, at) }

// ArmBy is Arm, unless the timer expires earlier than that anyway.
func (l *Loop) ArmBy(slot int32, at Tick) {
	if s := l.slots.at(slot); !s.armed() || s.due > at {
		l.Arm(slot, at)
	}
}

// Disarm stops the slot's timer.
func (l *Loop) Disarm(slot int32) { l.wheel.disarm(&l.slots, slot) }

// Free returns an owned slot. The owner has closed its sockets.
func (l *Loop) Free(slot int32) {
	l.wheel.disarm(&l.slots, slot)
	l.slots.put(slot)
}

func (l *Loop) run() {
	defer close(l.done)
	for !l.stop {
		l.iterate()
	}
	l.end()
}

// iterate waits once and handles the events.
func (l *Loop) iterate() {
	n := l.wait()
	l.readClock(n)
	if l.hot && l.since-l.ran >= yieldEvery {
		l.ran = l.since
		runtime.Gosched()
	}
	for i := range l.events[:n] {
		l.dispatch(&l.events[i])
	}
	if l.again {
		l.again = false
		l.owner.Again()
	}
	l.expired = l.wheel.expire(&l.slots, l.Now(), l.expired[:0])
	for _, i := range l.expired {
		l.expire(i)
	}
	l.turns.run()
	l.owner.BatchDone()
}

// readClock sets now. Reading the clock costs as much as walking a message, so a
// busy loop reads it only every few iterations. Each of them begins within
// hotWait, which bounds how far now is behind.
func (l *Loop) readClock(events int) {
	l.unread++
	if events > 0 && l.hot && l.unread < maxUnread {
		return
	}
	l.unread = 0
	l.since = time.Since(l.began)
	l.now.Store(uint32(l.since >> tickShift))
}

// wait returns the number of events. See hotWait.
func (l *Loop) wait() int {
	timeout := time.Duration(-1)
	if l.again || l.turns.waiting() {
		timeout = 0
	} else if after, ok := l.wheel.next(); ok {
		timeout = max(0, (l.wheel.at+after).Duration()-l.since)
	}
	if l.hot {
		ms := hotWait.Milliseconds()
		if timeout >= 0 {
			ms = min(ms, (timeout + time.Millisecond - 1).Milliseconds())
		}
		n, e := epollWaitRaw(l.ep, l.events, int(ms))
		switch {
		case e == unix.EINTR:
			return 0 // the runtime has interrupted us
		case e != 0:
			panic(fmt.Sprintf("eventloop: epoll_pwait: %v", e)) // a bug: the descriptor is ours
		case n == 0 && ms > 0:
			l.hot = false
		}
		return n
	}
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(l.ep, l.events, ms)
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return 0
		}
		panic(fmt.Sprintf("eventloop: epoll_wait: %v", err))
	}
	l.hot = n > 0
	l.unread = maxUnread // it may have slept for long
	return n
}

func (l *Loop) dispatch(ev *unix.EpollEvent) {
	switch {
	case ev.Fd == tagWake:
		l.runPosted()
		return
	case ev.Fd <= tagListen:
		if ll := l.listeners[int(tagListen-ev.Fd)]; ll != nil {
			ll.ready()
		}
		return
	}
	slot, side := ev.Fd>>1, session.Side(ev.Fd&1)
	s := l.slots.at(slot)
	if !s.used() || s.gen != uint32(ev.Pad) {
		return // a stale event: the socket was closed earlier in this batch
	}
	switch s.task {
	case nobody:
		l.owner.Ready(slot, side, Events(ev.Events))
	case inPark:
		l.parked[slot].ready(Events(ev.Events))
	default:
		l.tasks[s.task].ready(side, Events(ev.Events))
	}
}

func (l *Loop) expire(slot int32) {
	s := l.slots.at(slot)
	switch {
	case !s.used() || s.armed() || s.task == inPark:
		// Freed, or armed again, by a timer that expired in the same tick.
	case s.task != nobody:
		l.tasks[s.task].resume()
	default:
		l.owner.Expired(slot)
	}
}

func (l *Loop) runPosted() {
	var b [8]byte
	unix.Read(l.wake, b[:])
	l.mu.Lock()
	todo := l.posted
	l.posted, l.waking = nil, false
	l.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// watch registers fd as the given side of slot.
func (l *Loop) watch(slot int32, side session.Side, fd int32) error {
	e := epollAdd(l.ep, fd, unix.EpollEvent{Fd: slot<<1 | int32(side), Pad: int32(l.slots.at(slot).gen)})
	if e != 0 {
		return e
	}
	return nil
}

// end closes everything. Functions that were posted before still run.
func (l *Loop) end() {
	for _, ll := range l.listeners {
		ll.close()
	}
	l.runPosted()
	for _, t := range l.tasks {
		t.kill()
	}
	for _, p := range l.parked {
		p.end()
	}
	l.owner.Stopped()
	l.mu.Lock()
	l.ended = true
	left := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range left {
		f()
	}
	l.closeFDs()
}

func (l *Loop) closeFDs() {
	unix.Close(l.wake)
	unix.Close(l.ep)
}
