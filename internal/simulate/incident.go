package simulate

import "time"

// begins does to the backends what an event says.
func (w *world) begins(e *Event) {
	switch {
	case e.Restart != nil:
		w.restart(e.Restart)
	case e.Kill != nil:
		for _, s := range w.servers[:min(e.Kill.Servers, len(w.servers))] {
			back := never
			if e.Kill.Back >= 0 {
				back = e.Kill.Back + w.s.Servers.Restart
			}
			w.die(s, back)
		}
	case e.Add > 0:
		if err := w.grow(e.Add); err != nil {
			panic(err) // the same options have made a picker before
		}
	}
}

// restart is a deploy, by as many hands as it may have.
func (w *world) restart(r *Restart) {
	next := 0
	var begin func()
	begin = func() {
		if next < min(r.Servers, len(w.servers)) {
			next++
			w.deploy(w.servers[next-1], func() { w.at(w.now+r.Pause, begin) })
		}
	}
	for range r.Parallel {
		begin()
	}
}

// deploy is what a script does to one backend: holdfast drain --wait, restart,
// holdfast undrain.
func (w *world) deploy(s *server, done func()) {
	w.drainer.Drain(s.backend, -1, "deploy")
	w.whenEmpty(s, func() {
		w.die(s, w.s.Servers.Restart)
		w.at(w.now+w.s.Servers.Restart, func() {
			w.drainer.Undrain(s.backend, "deploy")
			done()
		})
	})
}

func (w *world) whenEmpty(s *server, f func()) {
	if s.backend.Sessions() == 0 {
		f()
		return
	}
	w.at(w.now+time.Second, func() { w.whenEmpty(s, f) })
}
