package eventloop

import (
	"iter"
	"runtime/debug"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// A task runs serve for one accepted connection, as a coroutine on its loop:
// where the code would block, control goes back to the loop, which resumes it
// once the socket it waits for is ready. A switch costs some 100 ns and no
// scheduler. Coroutines are kept and used again, so that their stacks are
// grown only once.
type task struct {
	loop  *Loop
	index int32
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool

	slot    int32 // nobody between connections
	conns   [2]Conn
	serve   func(transport.Conn)
	waiting bool         // in yield, for side and want
	side    session.Side // whose events resume it
	killed  bool
}

// maxFreeTasks bounds the coroutines kept while nothing needs them, until Trim.
const maxFreeTasks = 64

// start runs serve on a task for the connection fd, which it takes over.
func (l *Loop) start(c Conn, serve func(transport.Conn)) {
	if l.stop {
		closeFD(c.fd) // the tasks may have been unwound already
		return
	}
	slot := l.slots.take()
	if err := l.watch(slot, session.Client, c.fd); err != nil {
		l.log.Error("cannot watch a connection", "error", err)
		closeFD(c.fd)
		l.slots.put(slot)
		return
	}
	c.side = session.Client
	l.carryOn(slot, c, serve)
}

// carryOn runs serve on a task for c, the client's connection of slot.
func (l *Loop) carryOn(slot int32, c Conn, serve func(transport.Conn)) {
	t := l.takeTask()
	t.slot, t.serve = slot, serve
	l.slots.at(slot).task = t.index
	c.task, c.hints = t, hintReadable|hintWritable
	t.conns = [2]Conn{session.Client: c, session.Backend: {fd: -1}}
	t.resume()
}

func (l *Loop) takeTask() *task {
	if n := len(l.freeTasks); n > 0 {
		t := l.freeTasks[n-1]
		l.freeTasks = l.freeTasks[:n-1]
		return t
	}
	t := &task{loop: l, index: int32(len(l.tasks)), slot: nobody}
	for i, old := range l.tasks {
		if old == nil {
			t.index = int32(i)
			break
		}
	}
	if int(t.index) == len(l.tasks) {
		l.tasks = append(l.tasks, t)
	} else {
		l.tasks[t.index] = t
	}
	t.next, t.stop = iter.Pull(t.main)
	return t
}

// Trim ends the coroutines that nothing needs.
func (l *Loop) Trim() {
	for _, t := range l.freeTasks {
		t.stop()
		l.tasks[t.index] = nil
	}
	l.freeTasks = nil
}

// main is the coroutine: one connection after another.
func (t *task) main(yield func(struct{}) bool) {
	t.yield = yield
	for {
		t.runOne()
		if !yield(struct{}{}) {
			return
		}
	}
}

func (t *task) runOne() {
	defer func() {
		if p := recover(); p != nil {
			t.loop.log.Error("panic in a handshake; its connection is closed", "panic", p, "stack", string(debug.Stack()))
		}
		t.conns[session.Client].Close()
		t.conns[session.Backend].Close()
		if t.slot != nobody { // not handed to the owner
			t.loop.Free(t.slot)
			t.slot = nobody
		}
		t.serve = nil
	}()
	t.serve(&t.conns[session.Client])
}

// resume runs the task until it waits or ends. Called on the loop, never from
// a task.
func (t *task) resume() {
	t.waiting = false
	t.next()
	if t.serve != nil {
		return
	}
	l := t.loop
	if t.killed || len(l.freeTasks) >= maxFreeTasks {
		t.stop()
		l.tasks[t.index] = nil
		return
	}
	l.freeTasks = append(l.freeTasks, t)
}

// ready notes what came for one of the sockets and resumes the task where that
// matters to it: for the socket it waits for, and when the client goes.
func (t *task) ready(side session.Side, ev Events) {
	c := &t.conns[side]
	if ev.Readable() {
		c.hints |= hintReadable
	}
	if ev.Writable() {
		c.hints |= hintWritable
	}
	if ev.Ended() {
		c.hints |= hintEnded
	}
	if t.waiting && (side == t.side || side == session.Client && ev.Ended()) {
		t.resume()
	}
}

// wait yields until there may be something new, or the deadline has passed.
func (t *task) wait(side session.Side, deadline Tick) error {
	if t.killed {
		return errClosed
	}
	l := t.loop
	if deadline != Never {
		if l.Now() >= deadline {
			return errDeadline
		}
		l.Arm(t.slot, deadline)
	}
	t.waiting, t.side = true, side
	t.yield(struct{}{})
	if t.killed {
		return errClosed
	}
	if deadline != Never && l.Now() >= deadline {
		return errDeadline
	}
	return nil
}

// kill unwinds the task: every call of it that would wait fails.
func (t *task) kill() {
	if t == nil {
		return
	}
	t.killed = true
	if t.serve != nil {
		t.resume()
		return
	}
	t.stop()
}
