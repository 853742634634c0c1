package simulate

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/pool"
)

// server is the process behind a backend. It does one handshake after the
// other, each as long as its capacity has it, also for clients that have gone
// meanwhile: it doesn't know before it is done.
type server struct {
	index   int32
	backend *pool.Backend
	up      bool
	life    uint32 // grows with each death, and tells one life from another

	sessions []int32 // clients, in no order
	aged     []int32 // as they once were by age, perhaps with some that have gone; nil: to be made
	backlog  []ask   // the first is being worked on
	first    int     // of backlog
	hanging  time.Duration
	order    order
	asked    int // handshakes it has seen
	counted  int // of asked, by the meter
}

// ask is a handshake as a server has it.
type ask struct {
	attempt int32
	turn    uint32 // of the attempt
}

const never = -1 * time.Second

func (s *server) waiting() int { return len(s.backlog) - s.first }

// knocks are when a connection tries again that found the backlog full: the
// kernel doubles its wait each time, beginning with a second.
var knocks = []time.Duration{time.Second, 3 * time.Second}

// reach connects an attempt to the server that it has chosen. It is refused
// where nobody is there.
func (w *world) reach(s *server, a *attempt) {
	turn := a.turn
	if s.up {
		s.asked++
		w.watch(s)
	}
	switch {
	case a.turn != turn:
		// One server's death was too much for another, which had the session
		// that was to be moved.
	case !s.up:
		w.unanswered(a)
	case s.waiting() < w.s.Servers.Backlog:
		w.receive(s, a)
	default:
		w.planAfter(w.s.Connect, answerMissed, a.index, a.turn)
		for _, after := range knocks {
			w.planAfter(after, knocksAgain, a.index, a.turn)
		}
	}
}

// knock is called when an attempt that found the backlog full tries again.
func (w *world) knock(a *attempt) {
	s := w.servers[a.choice.Index]
	switch {
	case a.life != s.life || !s.up:
		w.unanswered(a)
	case s.waiting() < w.s.Servers.Backlog:
		a.turn++ // forgets the other knocks
		w.receive(s, a)
	}
}

// receive puts an attempt into the backlog.
func (w *world) receive(s *server, a *attempt) {
	if s.first > 1024 && s.first > len(s.backlog)/2 {
		n := copy(s.backlog, s.backlog[s.first:])
		s.backlog, s.first = s.backlog[:n], 0
	}
	s.backlog = append(s.backlog, ask{a.index, a.turn})
	if s.waiting() == 1 {
		w.serve(s)
	}
	if a.move && a.deadline-w.now < w.s.Handshake {
		w.plan(a.deadline, moveMissed, a.index, a.turn)
	} else {
		w.planAfter(w.s.Handshake, answerMissed, a.index, a.turn)
	}
}

// serve begins with the first in the backlog.
func (w *world) serve(s *server) {
	w.plan(w.now+w.takes(s), served, s.index, s.life)
}

// takes is how long a handshake takes s now.
func (w *world) takes(s *server) time.Duration {
	o := &w.s.Servers
	full := float64(s.waiting()) / float64(o.Backlog)
	return time.Duration((1 + (o.Slowdown-1)*full) / o.Capacity * float64(time.Second))
}

// served is called when s has done with the first in its backlog.
func (w *world) served(s *server) {
	q := s.backlog[s.first]
	s.first++
	if s.waiting() == 0 {
		s.backlog, s.first = s.backlog[:0], 0
	} else {
		w.serve(s)
	}
	a := w.attempts.all[q.attempt]
	if a.turn != q.turn {
		w.meter.result.Wasted++
		return
	}
	w.planAfter(w.s.Servers.Latency, answered, a.index, a.turn)
}

// watch has a server that hangs for too long killed.
func (w *world) watch(s *server) {
	o := &w.s.Servers
	switch {
	case o.HangFor == 0:
	case time.Duration(s.waiting())*w.takes(s) <= o.HangWait:
		s.hanging = never
	case s.hanging == never:
		s.hanging = w.now
	case w.now-s.hanging >= o.HangFor:
		w.meter.result.Crashes++
		w.die(s, o.Restart)
	}
}

// die has the server end with all its connections. It is there again after
// back; below 0 is never.
func (w *world) die(s *server, back time.Duration) {
	s.life++
	life, was := s.life, s.up
	s.up, s.hanging = false, never
	if back >= 0 {
		w.at(w.now+back, func() {
			if s.life == life { // else something has come of it since
				s.up = true
			}
		})
	}
	if !was {
		return // only when it is back has changed
	}
	s.order.cancel(w.clients)
	backlog := s.backlog[s.first:]
	s.backlog, s.first = nil, 0
	for _, q := range backlog {
		if a := w.attempts.all[q.attempt]; a.turn == q.turn {
			w.unanswered(a)
		}
	}
	for _, c := range w.byAge(s) {
		w.lost(c, s)
	}
}
