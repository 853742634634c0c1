package bench

import (
	"errors"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench/wsconn"
)

// session is one connection of a group.
type session struct {
	group  *group
	conn   *wsconn.Conn
	server int           // which of the group's URLs
	done   chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	id      uint32 // place in group.sessions; until all are open, the order of opening
	window  *window
	sent    uint32    // in window
	from    []tracker // by sender; of an echo just the session itself
	own     bool      // in a fan-out: one of its own has come back
	closing time.Time // when the Close was sent
	ended   bool
}

// run reads until the connection ends.
func (s *session) run() {
	defer close(s.done)
	err := s.conn.Serve(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.endedWith(err)
}

func (s *session) endedWith(err error) {
	g := s.group
	var closed *wsconn.CloseError
	switch {
	case s.closing.IsZero():
		g.dropped.Add(1)
		g.failures.add(endKind(err), 1, "session %d, %v after the run began: %s", s.id, since(g.epoch), endText(err))
	case errors.As(err, &closed):
		g.closing.Record(time.Since(s.closing))
	case endKind(err) == kindTimeout:
		g.failures.add(kindCloseTimeout, 1, "session %d: no answer to Close 1000 within %v", s.id, g.o.Timeout)
	default:
		g.failures.add(endKind(err), 1, "session %d, instead of an answer to Close 1000: %s", s.id, endText(err))
	}
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

func (s *session) number(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

// count is how many messages the session has sent in the window.
func (s *session) count() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// enter prepares for a window with that many senders.
func (s *session) enter(w *window, senders int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window, s.sent, s.own = w, 0, false
	if len(s.from) != senders {
		s.from = make([]tracker, senders)
	}
	clear(s.from)
}

// send sends the session's next message; due is when it should have been.
func (s *session) send(w *window, due time.Time) bool {
	g := s.group
	s.mu.Lock()
	if s.ended || !s.closing.IsZero() {
		s.mu.Unlock()
		w.unsent.Add(1)
		return false
	}
	m := message{window: w.number, sender: s.id, seq: s.sent, due: due.Sub(g.epoch)}
	s.sent++ // before it is sent, as the answer may be here before Send returns
	s.mu.Unlock()

	b := messages.Get().(*[]byte)
	*b = g.code.append((*b)[:0], m)
	w.late.Record(time.Since(due))
	err := s.conn.Send(g.code.op(), *b)
	messages.Put(b)
	switch {
	case err == nil:
		w.sent.Add(1)
		return true
	case errors.Is(err, wsconn.ErrBacklog):
		g.failures.add(kindBacklog, 1, "session %d: %v", s.id, err)
	}
	// Otherwise run tells why the connection has ended.
	w.unsent.Add(1)
	s.mu.Lock()
	s.sent--
	s.mu.Unlock()
	return false
}

var messages = sync.Pool{New: func() any { return new([]byte) }}

// Message is wsconn.Handler's.
func (s *session) Message(op byte, payload []byte, at time.Time) {
	g := s.group
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.window
	m, ok := g.code.parse(op, payload)
	switch {
	case ok && w == nil:
		g.failures.add(kindTooLate, 1, "session %d: message %d of session %d, given up as lost", s.id, m.seq, m.sender)
		return
	case w == nil:
		g.unasked.Add(1) // a greeting, or what other clients say
		return
	case !ok:
		g.failures.add(kindCorrupt, 1, "session %d: %d bytes that are not what was sent: %.60q", s.id, len(payload), payload)
		return
	}
	from, known := s.tracker(m)
	switch {
	case m.window != w.number:
		g.failures.add(kindTooLate, 1, "session %d: message %d of an earlier round, given up as lost", s.id, m.seq)
		return
	case !known:
		g.failures.add(kindMisdelivered, 1, "session %d got message %d of session %d", s.id, m.seq, m.sender)
		return
	}
	switch from.take(m.seq) {
	case duplicate:
		g.failures.add(kindDuplicate, 1, "session %d: message %d of session %d came again", s.id, m.seq, m.sender)
		return
	case reordered:
		g.failures.add(kindReordered, 1, "session %d: message %d of session %d came after a later one", s.id, m.seq, m.sender)
	}
	s.own = s.own || m.sender == s.id
	w.received.Add(1)
	w.latency.Record(at.Sub(g.epoch) - m.due)
}

func (s *session) tracker(m message) (*tracker, bool) {
	if s.group.o.Mode == Fanout {
		if int(m.sender) < len(s.from) {
			return &s.from[m.sender], true
		}
		return nil, false
	}
	if m.sender == s.id {
		return &s.from[0], true
	}
	return nil, false
}

// outstanding is how many messages the session has not received, where sent
// is how many each sender has sent. live is false when no more can come.
func (s *session) outstanding(sent []uint32) (n int, live bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing(sent), !s.ended
}

// leave ends the session's part in the window and returns what is missing.
func (s *session) leave(sent []uint32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = nil
	return s.missing(sent)
}

func (s *session) missing(sent []uint32) (n int) {
	if s.group.o.Mode != Fanout {
		return s.from[0].outstanding(s.sent)
	}
	for i := range s.from {
		if i == int(s.id) && !s.own {
			continue // a server may send to all but the sender
		}
		n += s.from[i].outstanding(sent[i])
	}
	return n
}

// close sends Close 1000 and gives the peer Options.Timeout to answer.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.window = nil
	s.closing = time.Now()
	_ = s.conn.SetReadDeadline(s.closing.Add(s.group.o.Timeout))
	_ = s.conn.SendClose(1000, "")
}
