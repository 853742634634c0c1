// Package eventloop runs sockets on epoll: one loop a core, each owning its
// sockets for their whole life. Handshakes run on it as straight-line code in
// coroutines (transport.Conn); what they become afterwards, the relay's
// sessions, is driven by plain calls to an Owner.
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

// Owner is told of what happens to the slots it took over with Conn.Release.
// Every method is called on the loop's goroutine and must not block.
type Owner interface {
	// Ready says that a socket of the slot may be read or written. Events
	// are edges: it is not said again before a Recv or Send would block.
	Ready(slot int32, side session.Side, ev Events)
	// Expired says that the slot's timer has run out; it is disarmed.
	Expired(slot int32)
	// Again is called once in an iteration after Loop.CallAgain.
	Again()
	// BatchDone is called after each batch of events.
	BatchDone()
	// Stopped is called once, last, when the loop ends. The owner closes
	// what it still owns.
	Stopped()
}

// Events is what epoll told of one socket.
type Events uint32

func (e Events) Readable() bool {
	return e&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
}
func (e Events) Writable() bool { return e&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 }

// Ended tells that the peer will send nothing more: what is to be read ends
// with EOF or an error, so a short read is no sign of having read it all.
func (e Events) Ended() bool { return e&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 }

const (
	batchSize = 512
	// ReadBufferSize is the size of the one buffer a loop reads into.
	ReadBufferSize = 256 << 10

	// hotWait is how long a loop keeps its processor while nothing comes.
	// Blocking the ordinary way lets the scheduler take the processor away,
	// which costs two thread hand-offs a wake-up: more than relaying a
	// message. Holding on to it costs a preemption signal every 10 ms, so
	// after one such wait with nothing to do the loop blocks the ordinary
	// way and an idle balancer uses no CPU. The signals interrupt
	// epoll_pwait, so that the collector can always stop the loop; for other
	// goroutines see Group.SpareProcessors.
	hotWait = 10 * time.Millisecond

	// yieldEvery is how often a hot loop lets others run by itself. A loop
	// that had 10 ms without it is preempted by a signal, which interrupts
	// its wait and costs several times as much.
	yieldEvery = 4 * time.Millisecond
)

// maxUnread is how many iterations of a hot loop share a reading of the clock.
const maxUnread = 4

// Tags of descriptors that are not a slot's.
const (
	tagWake   = -1
	tagListen = -2 // and below: tagListen - listener number
)

// Loop is one event loop. Except for Post and what says otherwise, its methods
// are for code that runs on it: tasks, the Owner, posted functions.
type Loop struct {
	// Buf is scratch space to read into, free for whoever runs.
	Buf []byte

	log    *slog.Logger
	owner  Owner
	ep     int
	wake   int
	began  time.Time
	now    atomic.Uint32 // Tick; atomic for readers on other goroutines
	since  time.Duration // began to now
	ran    time.Duration // began to when others could run last
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
// may be called from anywhere.
func (l *Loop) Now() Tick { return Tick(l.now.Load()) }

// Post runs f on the loop soon, after what was posted before. It may be called
// from anywhere and does not block; it reports false, and f will not run, once
// the loop has ended.
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

// CallAgain has Owner.Again called in this iteration or the next, before the
// loop sleeps.
func (l *Loop) CallAgain() { l.again = true }

// Arm sets the slot's only timer. A tick that has passed expires at the next.
func (l *Loop) Arm(slot int32, at Tick) { l.wheel.arm(&l.slots, slot, at) }

// Disarm stops the slot's timer.
func (l *Loop) Disarm(slot int32) { l.wheel.disarm(&l.slots, slot) }

// Free gives an owned slot back; the owner has closed its sockets.
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

// iterate waits once and handles everything that came.
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
	l.owner.BatchDone()
}

// readClock sets now. Reading the clock costs as much as walking a message, so
// a loop with a lot to do reads it every few iterations only; none of them
// takes longer than hotWait to begin, which bounds how far now is behind.
func (l *Loop) readClock(events int) {
	l.unread++
	if events > 0 && l.hot && l.unread < maxUnread {
		return
	}
	l.unread = 0
	l.since = time.Since(l.began)
	l.now.Store(uint32(l.since >> tickShift))
}

// wait returns the number of events that came. See hotWait.
func (l *Loop) wait() int {
	timeout := time.Duration(-1)
	if l.again {
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
			return 0 // the runtime wants something; it has now had it
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
	if !s.used || s.gen != uint32(ev.Pad) {
		return // stale: its socket was closed earlier in this batch
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
	case !s.used || s.armed || s.task == inPark:
		// Freed, or armed anew, by one that expired in the same tick.
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

// end closes everything. What was posted before runs; nothing is after.
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
