package bench

import (
	"errors"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
)

// session is a connection of a group.
type session struct {
	group  *group
	conn   *wsconn.Conn
	server int           // index of its URL in the group
	done   chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	id      uint32 // index in group.sessions; until all are open, the order of opening
	window  *window
	sent    uint32    // number of messages sent in window
	from    []tracker // by sender; in echo mode only the session itself
	gotOwn  bool      // in fanout mode: has received one of its own messages
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
	s.recordEnd(err)
}

func (s *session) recordEnd(err error) {
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

func (s *session) setID(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

// sentCount returns the number of messages sent in the window.
func (s *session) sentCount() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// joinWindow prepares for a window with the given number of senders.
func (s *session) joinWindow(w *window, senders int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window, s.sent, s.gotOwn = w, 0, false
	if len(s.from) != senders {
		s.from = make([]tracker, senders)
	}
	clear(s.from)
}

// send sends the session's next message, which was due at the given time.
func (s *session) send(w *window, due time.Time) bool {
	g := s.group
	s.mu.Lock()
	if s.ended || !s.closing.IsZero() {
		s.mu.Unlock()
		w.unsent.Add(1)
		return false
	}
	m := message{window: w.number, sender: s.id, seq: s.sent, due: due.Sub(g.epoch)}
	s.sent++ // increment first, because the answer may arrive before Send returns
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
	// For other errors, run reports why the connection has ended.
	w.unsent.Add(1)
	s.mu.Lock()
	s.sent--
	s.mu.Unlock()
	return false
}

var messages = sync.Pool{New: func() any { return new([]byte) }}

// Message implements wsconn.Handler.
func (s *session) Message(op byte, payload []byte, at time.Time) {
	g := s.group
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.window
	m, ok := g.code.parse(op, payload)
	switch {
	case ok && w == nil:
		g.failures.add(kindTooLate, 1, "session %d: message %d of session %d arrived after it was counted as lost", s.id, m.seq, m.sender)
		return
	case w == nil:
		g.unsolicited.Add(1) // a greeting, or a message of another client
		return
	case !ok:
		g.failures.add(kindCorrupt, 1, "session %d received %d bytes that differ from what was sent: %.60q", s.id, len(payload), payload)
		return
	}
	from, known := s.tracker(m)
	switch {
	case m.window != w.number:
		g.failures.add(kindTooLate, 1, "session %d: message %d of an earlier round arrived after it was counted as lost", s.id, m.seq)
		return
	case !known:
		g.failures.add(kindMisdelivered, 1, "session %d received message %d of session %d", s.id, m.seq, m.sender)
		return
	}
	switch from.take(m.seq) {
	case duplicate:
		g.failures.add(kindDuplicate, 1, "session %d received message %d of session %d twice", s.id, m.seq, m.sender)
		return
	case reordered:
		g.failures.add(kindReordered, 1, "session %d received message %d of session %d after a later one", s.id, m.seq, m.sender)
	}
	s.gotOwn = s.gotOwn || m.sender == s.id
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

// outstanding returns the number of messages that the session hasn't received. sent
// is the number of messages sent by each sender. live is false if the session has
// ended.
func (s *session) outstanding(sent []uint32) (n int, live bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing(sent), !s.ended
}

// leaveWindow ends the session's measurement in the window and returns the number of
// missing messages.
func (s *session) leaveWindow(sent []uint32) int {
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
		if i == int(s.id) && !s.gotOwn {
			continue // servers may omit the sender
		}
		n += s.from[i].outstanding(sent[i])
	}
	return n
}

// close sends a Close with 1000. The peer must answer within Options.Timeout.
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
