package simulate

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// server is the process behind a backend. It does one handshake after the other, at
// its capacity. It also does those of clients that have left meanwhile, since it
// doesn't notice before it is done.
type server struct {
	index       int32
	backend     *pool.Backend
	up          bool
	leaving     bool          // a scale-in has removed it from the pool
	incarnation uint32        // grows with each death
	started     time.Duration // when it last started; never: it was there from the beginning
	cost        int           // of its deletion: its sessions, some time ago

	sessions     []int32  // clients, in no order
	byAge        []aged   // sessions by age, the oldest first, and some that have left; nil: make it
	backlog      []queued // from backlogStart on; the first is in progress
	backlogStart int
	hangingSince time.Duration
	batch        batch
	handshakes   int // that it has got
	sampled      int // handshakes at the last sample
}

// queued is a handshake in a server's backlog.
type queued struct {
	attempt int32
	gen     uint32 // of the attempt
}

const never = -1 * time.Second

func (s *server) waiting() int { return len(s.backlog) - s.backlogStart }

// connectRetries are when a connection that found the backlog full tries again: the
// kernel starts with a second and doubles the wait.
var connectRetries = []time.Duration{time.Second, 3 * time.Second}

// connectTo connects an attempt to the server that it has chosen.
func (w *world) connectTo(s *server, a *attempt) {
	gen := a.gen
	if s.up {
		s.handshakes++
		w.checkHang(s)
	}
	switch {
	case a.gen != gen:
		// checkHang has killed the server, which ended another one, and that
		// one had the session to be moved.
	case !s.up:
		w.noResponse(a, failure.Unreachable)
	case s.waiting() < w.s.Servers.Backlog:
		w.receive(s, a)
	default:
		w.scheduleTimeout(w.s.Connect, connectTimeout, a.index, a.gen)
		for _, after := range connectRetries {
			w.scheduleTimeout(after, connectRetry, a.index, a.gen)
		}
	}
}

// retryConnect is called when an attempt that found the backlog full tries again.
func (w *world) retryConnect(a *attempt) {
	s := w.servers[a.choice.Index]
	switch {
	case a.incarnation != s.incarnation || !s.up:
		w.noResponse(a, failure.Unreachable)
	case s.waiting() < w.s.Servers.Backlog:
		a.gen++ // cancels the other retries
		w.receive(s, a)
	}
}

// receive puts an attempt into the backlog.
func (w *world) receive(s *server, a *attempt) {
	if s.backlogStart > 1024 && s.backlogStart > len(s.backlog)/2 {
		n := copy(s.backlog, s.backlog[s.backlogStart:])
		s.backlog, s.backlogStart = s.backlog[:n], 0
	}
	s.backlog = append(s.backlog, queued{a.index, a.gen})
	if s.waiting() == 1 {
		w.serve(s)
	}
	if a.move && a.deadline-w.now < w.s.Handshake {
		w.schedule(a.deadline, moveTimeout, a.index, a.gen)
	} else {
		w.scheduleTimeout(w.s.Handshake, responseTimeout, a.index, a.gen)
	}
}

// serve begins the first handshake in the backlog.
func (w *world) serve(s *server) {
	w.schedule(w.now+w.serviceTime(s), serverDone, s.index, s.incarnation)
}

// serviceTime is how long a handshake takes now.
func (w *world) serviceTime(s *server) time.Duration {
	o := &w.s.Servers
	full := float64(s.waiting()) / float64(o.Backlog)
	cold := 1.0
	if age := w.now - s.started; s.started >= 0 && age < o.ColdFor {
		cold += (o.ColdSlowdown - 1) * (1 - float64(age)/float64(o.ColdFor))
	}
	return time.Duration(cold * (1 + (o.Slowdown-1)*full) / o.Capacity * float64(time.Second))
}

// handshakeDone is called when s has done the first handshake in its backlog.
func (w *world) handshakeDone(s *server) {
	q := s.backlog[s.backlogStart]
	s.backlogStart++
	if s.waiting() == 0 {
		s.backlog, s.backlogStart = s.backlog[:0], 0
	} else {
		w.serve(s)
	}
	a := w.attempts.all[q.attempt]
	if a.gen != q.gen {
		w.meter.result.Wasted++
		return
	}
	w.scheduleTimeout(w.s.Servers.Latency, responseArrives, a.index, a.gen)
}

// checkHang kills a server that has hung for too long.
func (w *world) checkHang(s *server) {
	o := &w.s.Servers
	switch {
	case o.HangFor == 0:
	case float64(s.waiting())*float64(w.serviceTime(s)) <= float64(o.HangWait): // in floats, since it may overflow a Duration
		s.hangingSince = never
	case s.hangingSince == never:
		s.hangingSince = w.now
	case w.now-s.hangingSince >= o.HangFor:
		w.meter.result.Crashes++
		w.kill(s, o.Restart)
	}
}

// kill ends the server with all its connections. It is up again after back; negative
// means never.
func (w *world) kill(s *server, back time.Duration) {
	s.incarnation++
	life, was := s.incarnation, s.up
	s.up, s.hangingSince = false, never
	if back >= 0 {
		w.callAt(w.now+back, func() {
			if s.incarnation == life { // otherwise it was killed again
				s.up, s.started = true, w.now
			}
		})
	}
	if !was {
		return // it was down already: only the time of its return has changed
	}
	s.batch.cancel(w.clients)
	backlog := s.backlog[s.backlogStart:]
	s.backlog, s.backlogStart = nil, 0
	for _, q := range backlog {
		if a := w.attempts.all[q.attempt]; a.gen == q.gen {
			w.noResponse(a, failure.Silent)
		}
	}
	for _, c := range w.byAge(s) {
		w.sessionLostServer(c, s)
	}
}
