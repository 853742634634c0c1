package eventloop

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// batches is an Owner that counts batches of events.
type batches struct {
	nothing
	n *int
}

func (b batches) BatchDone() { *b.n++ }

// queued is a loop on which all tasks ask for their turn in the same batch.
type queued struct {
	group   *Group
	loop    *Loop
	clients []*net.TCPConn // of the tasks, in no order
	batch   int
	done    chan struct{}
	// The following belong to the loop.
	turns  []int // the batch of each turn
	errors []error
}

// queue starts so many tasks, each with a deadline if it isn't zero. Each calls turn
// when it has its turn.
func queue(t *testing.T, tasks int, deadline time.Time, turn func(q *queued, c *Conn)) *queued {
	t.Helper()
	q := &queued{}
	q.group = newTestGroup(t, 1, func(l *Loop) Owner {
		q.loop = l
		return batches{n: &q.batch}
	})
	waiting := make(chan struct{}, tasks)
	to, done := listen(t, q.group, func(c transport.Conn) {
		waiting <- struct{}{}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		c.SetDeadline(deadline)
		if err := transport.AwaitTurn(c); err != nil {
			q.errors = append(q.errors, err)
			return
		}
		q.turns = append(q.turns, q.batch)
		turn(q, c.(*Conn))
	})
	q.done = done
	for range tasks {
		q.clients = append(q.clients, dial(t, to))
		<-waiting
	}
	return q
}

// start makes all tasks ask for their turn.
func (q *queued) start(t *testing.T) {
	blocked, written, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(end)
		q.group.On(0, func(int, *Loop) {
			close(blocked)
			<-written
		})
	}()
	<-blocked
	for _, c := range q.clients {
		write(t, c, "x")
	}
	close(written)
	<-end
}

func (q *queued) await(t *testing.T) {
	t.Helper()
	for range q.clients {
		wait(t, q.done)
	}
}

// TestTurns: after each batch of events there are two turns, so that whatever comes
// for the loop meanwhile is handled before the next ones.
func TestTurns(t *testing.T) {
	const tasks = 400
	posted, late := 0, 0
	q := queue(t, tasks, time.Time{}, func(q *queued, _ *Conn) {
		turns := len(q.turns)
		q.loop.Post(func() {
			posted++
			if len(q.turns) > turns+turnsPerBatch {
				late++
			}
		})
	})
	q.start(t)
	q.await(t)
	q.group.Each(func(int, *Loop) {
		if len(q.turns) != tasks || posted != tasks || late > 0 || len(q.errors) > 0 {
			t.Errorf("%d turns, of %d events %d came late, errors %v", len(q.turns), posted, late, q.errors)
		}
		for i := range q.turns[turnsPerBatch:] {
			if q.turns[i] == q.turns[i+turnsPerBatch] {
				t.Fatalf("more than %d turns after one batch", turnsPerBatch)
			}
		}
		if q.loop.turns.waiting() || q.loop.turns.queue != nil {
			t.Error("something is left in the queue")
		}
	})
}

// TestTurnsLetOthersTalk: a socket whose bytes come together with those of 400 tasks
// is read before they have their turns.
func TestTurnsLetOthersTalk(t *testing.T) {
	q := queue(t, 400, time.Time{}, func(*queued, *Conn) {})
	read := make(chan int, 1)
	ready := make(chan struct{})
	to, _ := listen(t, q.group, func(c transport.Conn) {
		close(ready)
		c.Read(make([]byte, 1))
		read <- len(q.turns)
	})
	other := dial(t, to)
	<-ready
	q.clients = append(q.clients, other)
	q.start(t)
	// A batch has at most 512 events. The listeners' and our own come in addition.
	if turns := testkit.Receive(t, "the other one is read", read); turns > 2*turnsPerBatch {
		t.Errorf("%d tasks had their turn before", turns)
	}
	q.clients = q.clients[:len(q.clients)-1]
	q.await(t)
}

// TestLoopEndsWhileTasksWait: they fail.
func TestLoopEndsWhileTasksWait(t *testing.T) {
	q := queue(t, 20, time.Time{}, func(q *queued, _ *Conn) { q.loop.stop = true })
	q.start(t)
	q.await(t)
	q.group.Close()
	if len(q.turns) == 0 || len(q.turns) > turnsPerBatch || len(q.turns)+len(q.errors) != 20 {
		t.Errorf("%d turns, %d errors", len(q.turns), len(q.errors))
	}
	for _, err := range q.errors {
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}

// TestDeadlineOfTurn: the deadline of a connection applies while it waits for its
// turn.
func TestDeadlineOfTurn(t *testing.T) {
	deadline := time.Now().Add(300 * time.Millisecond)
	q := queue(t, 20, deadline, func(q *queued, _ *Conn) {
		time.Sleep(time.Until(deadline) + 2*Tick(1).Duration())
	})
	q.start(t)
	q.await(t)
	q.group.Each(func(int, *Loop) {
		// On a slow machine no task asks before the deadline.
		if len(q.turns) > turnsPerBatch || len(q.turns)+len(q.errors) != 20 {
			t.Errorf("%d turns, %d errors", len(q.turns), len(q.errors))
		}
		for _, err := range q.errors {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		}
	})
}

// TestClientGoesBeforeItsTurn: its task isn't given one.
func TestClientGoesBeforeItsTurn(t *testing.T) {
	left := map[*Conn]bool{}
	q := queue(t, 20, time.Time{}, func(q *queued, c *Conn) {
		if left[c] {
			t.Error("it had its turn")
		}
		if len(left) > 0 {
			return
		}
		// One more has its turn before the loop looks for events.
		for _, next := range q.loop.turns.queue[1:] {
			other := &next.task.conns[session.Client]
			left[other] = true
			// Its client has the port at the other end.
			i := slices.IndexFunc(q.clients, func(c *net.TCPConn) bool {
				return transport.AddrPort(c.LocalAddr()) == other.remote
			})
			q.clients[i].CloseWrite()
			for poll := []unix.PollFd{{Fd: other.fd, Events: unix.POLLRDHUP}}; ; {
				if _, err := unix.Poll(poll, -1); err == nil {
					break
				}
			}
		}
	})
	q.start(t)
	q.await(t)
	q.group.Each(func(int, *Loop) {
		if len(q.turns) != turnsPerBatch || len(q.errors) != 20-turnsPerBatch {
			t.Errorf("%d turns, %d errors", len(q.turns), len(q.errors))
		}
		for _, err := range q.errors {
			if err != io.EOF {
				t.Error(err)
			}
		}
	})
}

// TestTurnOfWhatHasGone: nobody waits for it.
func TestTurnOfWhatHasGone(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	ended := make(chan error, 2)
	to, _ := listen(t, g, func(c transport.Conn) {
		for !c.HungUp() {
			transport.AwaitTurn(c)
		}
		ended <- transport.AwaitTurn(c)
		c.Close()
		ended <- transport.AwaitTurn(c)
	})
	dial(t, to).Close()
	if err := testkit.Receive(t, "it ends", ended); err != io.EOF {
		t.Errorf("of a client that has gone: %v", err)
	}
	if err := testkit.Receive(t, "it ends", ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed connection: %v", err)
	}
}

// layered is a connection on another one.
type layered struct{ transport.Conn }

func (l layered) Inner() transport.Conn { return l.Conn }

// TestLayeredParent: a connection can be dialled for a client whose connection has a
// layer, and waiting for its turn ends when that client goes.
func TestLayeredParent(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	ln, there := backend(t)
	ended := make(chan error, 1)
	to, _ := listen(t, g, func(c transport.Conn) {
		b, err := g.Dial(layered{c}, hostport.At(there), time.Now().Add(testkit.Patience))
		if err != nil {
			ended <- err
			return
		}
		if err := transport.AwaitTurn(layered{b}); err != nil {
			t.Error(err)
		}
		write(t, c, "x")
		if _, err := b.Read(make([]byte, 1)); err != transport.ErrHungUp {
			t.Errorf("read: %v", err)
		}
		ended <- transport.AwaitTurn(b)
	})
	c := dial(t, to)
	accepted(t, ln)
	wantRead(t, c, "x")
	c.Close()
	if err := testkit.Receive(t, "it ends", ended); err != transport.ErrHungUp {
		t.Error(err)
	}
}

// TestWriteNow: it takes what fits, and doesn't wait.
func TestWriteNow(t *testing.T) {
	g := newTestGroup(t, 1, nil)
	written := make(chan int, 1)
	to, _ := listen(t, g, func(c transport.Conn) {
		s := c.(*Conn)
		if n, err := s.WriteNow([]byte("hello")); n != 5 || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		n, err := s.WriteNow(make([]byte, 64<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d of 64 MiB, %v", n, err)
		}
		c.Close()
		if _, err := s.WriteNow([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		written <- n
	})
	c := dial(t, to)
	n := testkit.Receive(t, "it is written", written)
	wantRead(t, c, "hello")
	if got, err := io.Copy(io.Discard, c); got != int64(n) || err != nil {
		t.Errorf("%d bytes came, %v, want %d", got, err, n)
	}
}
