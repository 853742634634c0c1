package simulate

import "time"

// runEvent applies an event to the backends.
func (w *world) runEvent(e *Event) {
	switch {
	case e.Restart != nil:
		w.rollingRestart(e.Restart)
	case e.Kill != nil:
		for _, s := range w.servers[:min(e.Kill.Servers, len(w.servers))] {
			if s.leaving {
				continue
			}
			back := never
			if e.Kill.Back >= 0 {
				back = e.Kill.Back + w.s.Servers.Restart
			}
			w.kill(s, back)
		}
	case e.Add > 0:
		w.join(e.Add, &Scale{})
	case e.Scale != nil:
		w.scaleTo(e.Scale)
	}
}

// rollingRestart restarts servers, Parallel at a time.
func (w *world) rollingRestart(r *Restart) {
	next := 0
	var begin func()
	begin = func() {
		for next < min(r.Servers, len(w.servers)) && w.servers[next].leaving {
			next++
		}
		if next < min(r.Servers, len(w.servers)) {
			next++
			w.restartServer(w.servers[next-1], func() { w.callAt(w.now+r.Pause, begin) })
		}
	}
	for range r.Parallel {
		begin()
	}
}

// restartServer does what a script would: holdfast drain --wait, restart, holdfast
// undrain.
func (w *world) restartServer(s *server, done func()) {
	w.drainer.Drain(s.backend, -1, "deploy")
	w.whenEmpty(s, func() {
		if s.leaving { // it won't come back
			done()
			return
		}
		w.kill(s, w.s.Servers.Restart)
		w.callAt(w.now+w.s.Servers.Restart, func() {
			if !s.leaving {
				w.drainer.Undrain(s.backend, "deploy")
			}
			done()
		})
	})
}

func (w *world) whenEmpty(s *server, f func()) {
	if s.backend.Sessions() == 0 {
		f()
		return
	}
	w.callAt(w.now+time.Second, func() { w.whenEmpty(s, f) })
}
