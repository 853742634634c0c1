package eventloop

// awaited is something outside the loop that a task waits for. It is used on the loop
// alone.
type awaited struct {
	task *task // nil unless it waits now
	done bool
}

// Await is for transport.Await. It fails as AwaitTurn does if the client goes away.
func (c *Conn) Await(start func(done func())) error {
	t := c.task
	if c.fd < 0 {
		return errClosed
	}
	w := new(awaited)
	start(func() { t.loop.Post(w.finish) })
	for !w.done {
		if err := errGone(c); err != nil {
			return err
		}
		w.task = t
		err := t.wait(noSide, c.due())
		w.task = nil
		if err != nil && !w.done {
			return err
		}
	}
	return nil
}

func (w *awaited) finish() {
	w.done = true
	if w.task != nil {
		w.task.resume()
	}
}
