package eventloop

import (
	"io"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// turnsPerBatch is how many tasks get their turn after a batch of events. Two TLS
// handshakes take about half a millisecond. acceptBatch is no bound for them, since
// most of their work comes with a later event, and a batch can have hundreds of those.
const turnsPerBatch = 2

// noSide is no side of a slot: no event of a socket resumes a task that waits for it,
// but the end of the client's.
const noSide = session.Side(2)

// turns is a queue of tasks with work that takes long. Between them the loop looks for
// events, so that its sessions don't wait for the whole queue.
type turns struct {
	queue []turn
	last  uint32
}

// turn is the place of a task in the queue. It is void if the task has another number
// by now.
type turn struct {
	task   *task
	number uint32
}

// waiting reports whether the loop must not sleep.
func (q *turns) waiting() bool { return len(q.queue) > 0 }

func (q *turns) add(t *task) {
	if q.last++; q.last == 0 {
		q.last = 1
	}
	t.turn = q.last
	q.queue = append(q.queue, turn{t, t.turn})
}

// run resumes the tasks whose turn it is.
func (q *turns) run() {
	for left := turnsPerBatch; left > 0 && len(q.queue) > 0; {
		next := q.queue[0]
		q.queue[0] = turn{}
		if q.queue = q.queue[1:]; len(q.queue) == 0 {
			q.queue = nil // it may have been long
		}
		if next.task.turn == next.number {
			next.task.turn = 0
			next.task.resume()
			left--
		}
	}
}

// AwaitTurn is for transport.AwaitTurn. It fails with transport.ErrHungUp, or for the
// client's own connection with io.EOF, if the client goes away meanwhile: it won't
// complete its handshake.
func (c *Conn) AwaitTurn() error {
	t := c.task
	if c.fd < 0 {
		return errClosed
	}
	t.loop.turns.add(t)
	for t.turn != 0 {
		err := errGone(c)
		if err == nil {
			err = t.wait(noSide, c.due())
		}
		if err != nil {
			t.turn = 0
			return err
		}
	}
	return nil
}

func errGone(c *Conn) error {
	switch {
	case !c.client().HungUp():
		return nil
	case c.side == session.Client:
		return io.EOF
	}
	return transport.ErrHungUp
}
