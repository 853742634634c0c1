package eventloop

import (
	"iter"
	"runtime/debug"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// A task runs serve for one accepted connection, as a coroutine on its loop. When
// the code would block, it yields to the loop, which resumes it when the socket
// that it waits for is ready. A switch costs about 100 ns and doesn't involve the
// scheduler. Coroutines are used again, so that their stacks grow only once.
type task struct {
	loop  *Loop
	index int32
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool

	slot    int32 // nobody between connections
	conns   [2]Conn
	serve   func(transport.Conn)
	waiting bool         // in yield, for side
	side    session.Side // whose events resume it
	killed  bool
	turn    uint32 // the number that it waits for, see turns; 0 for none
}

// maxFreeTasks bounds the number of idle coroutines that are kept until Trim.
const maxFreeTasks = 64

// start takes over the connection c and runs serve for it on a task.
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
	l.startAt(slot, c, serve)
}

// startAt runs serve on a task for c, the client's connection of slot.
func (l *Loop) startAt(slot int32, c Conn, serve func(transport.Conn)) {
	t := l.takeTask()
	t.slot, t.serve = slot, serve
	l.slots.at(slot).task = t.index
	c.task, c.hints = t, c.hints|hintReadable|hintWritable
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

// Trim ends the idle coroutines.
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

// resume runs the task until it waits or ends. It is called on the loop, never by
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

// ready records events of one of the sockets. It resumes the task if it waits for
// that socket, or if the client has gone.
func (t *task) ready(side session.Side, ev Events) {
	c := &t.conns[side]
	c.note(ev)
	if t.waiting && (side == t.side || side == session.Client && ev.Ended()) {
		t.resume()
	}
}

// wait yields until there may be an event, or the deadline has passed.
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

// kill unwinds the task: each of its calls that would wait fails.
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
