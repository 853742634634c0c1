package hub

import (
	"context"
	"slices"
	"sync"
)

// event is an Event as it is kept: once for all members on this server.
type event struct {
	Event
	id, prev id   // of a Message, and of the one before it in the room
	reset    bool // of a Gap: the order begins anew
}

func newMessage(room string, id, prev id, data []byte) *event {
	return &event{Event: Event{Kind: Message, Room: room, ID: id.String(), Data: data}, id: id, prev: prev}
}

// Membership is a member's place in a room: a bounded queue of events. It has
// no goroutine of its own.
type Membership struct {
	room   string
	member Member
	opts   Options
	wants  bool              // Joined and Left
	leave  func(*Membership) // called once
	counts *counters         // the hub's

	entry   string // its name in the room's presence
	entered bool   // has it been told to Redis; needs the room's mutex

	wake chan struct{} // has an element when Next has something to look at

	mu      sync.Mutex
	backlog []*event // came in one piece, doesn't count against Options.Queue
	queue   []*event // comes after the backlog
	cursor  id       // Messages up to here are in the queue or have been
	last    id       // the last Message that Next returned
	err     error    // what Next returns when nothing is queued
	left    bool
}

func newMembership(room string, m Member, o Options, j JoinOptions, counts *counters, leave func(*Membership)) *Membership {
	m.Data = slices.Clone(m.Data)
	return &Membership{
		room:   room,
		member: m,
		opts:   o,
		wants:  j.Presence,
		leave:  leave,
		counts: counts,
		wake:   make(chan struct{}, 1),
	}
}

// Next returns the next event, and waits for it until ctx ends. Once the
// membership has ended it returns ErrLeft or ErrSlow at once, or ErrClosed when
// what was queued has been returned. Only one goroutine may call it at a time.
func (m *Membership) Next(ctx context.Context) (Event, error) {
	for {
		e, err := m.pop()
		switch {
		case e != nil:
			m.counts.delivered.Add(1)
			if e.Kind == Gap {
				m.counts.gaps.Add(1)
			}
			return e.Event, nil
		case err != nil:
			return Event{}, err
		}
		select {
		case <-m.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

func (m *Membership) pop() (*event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := &m.backlog
	if len(*from) == 0 {
		from = &m.queue
	}
	if len(*from) == 0 {
		return nil, m.err
	}
	e := (*from)[0]
	(*from)[0] = nil
	*from = (*from)[1:]
	if len(*from) == 0 {
		*from = nil // an idle member keeps no memory for events
	}
	if e.Kind == Message {
		m.last = e.id
	}
	return e, nil
}

// Last is what to pass as Since so as to go on after the last Message that
// Next has returned, or, before the first, from where the membership began.
func (m *Membership) Last() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.String()
}

// Leave ends the membership. It doesn't wait for Redis, and may be called more
// than once.
func (m *Membership) Leave() {
	m.mu.Lock()
	again := m.left
	m.left = true
	m.end(ErrLeft)
	m.backlog, m.queue = nil, nil
	m.mu.Unlock()
	if !again {
		m.leave(m)
	}
}

// closed ends the membership with its hub.
func (m *Membership) closed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(ErrClosed)
}

// end needs m.mu. The first end counts.
func (m *Membership) end(err error) {
	if m.err == nil {
		m.err = err
		m.signal()
	}
}

// begin puts what the member asked for of the history before what has come
// since it was attached to the room.
func (m *Membership) begin(p past) {
	m.mu.Lock()
	defer m.mu.Unlock()
	read := func(e *event) bool { return e.Kind == Message && e.id.compare(p.newest) <= 0 }
	caughtUp := slices.DeleteFunc(m.backlog, read)
	m.backlog = nil
	if p.missing {
		m.backlog = append(m.backlog, m.gap())
	}
	m.backlog = slices.Concat(m.backlog, p.events, caughtUp)
	m.queue = slices.DeleteFunc(m.queue, read)
	if m.cursor.compare(p.newest) < 0 {
		m.cursor = p.newest
	}
	m.last = p.from
	m.signal()
}

// push queues what has just happened.
func (m *Membership) push(e *event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(e)
}

// catchUp queues what came late and in one piece. That isn't the member's
// fault, so unless it has yet to read such a piece, it isn't too slow by it.
func (m *Membership) catchUp(events []*event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.backlog) > 0 {
		for _, e := range events {
			m.add(e)
		}
		return
	}
	m.backlog, m.queue = m.queue, nil
	for _, e := range events {
		if m.err == nil && m.takes(e) {
			m.backlog = append(m.backlog, e)
		}
	}
	m.signal()
}

// add needs m.mu.
func (m *Membership) add(e *event) {
	if m.err != nil || !m.takes(e) {
		return
	}
	m.queue = append(m.queue, e)
	if len(m.queue) > m.opts.Queue {
		m.overflow()
	}
	m.signal()
}

func (m *Membership) takes(e *event) bool {
	switch e.Kind {
	case Message:
		if e.id.compare(m.cursor) <= 0 {
			return false
		}
		m.cursor = e.id
	case Joined, Left:
		return m.wants && e.Member.ID != m.member.ID
	case Gap:
		if e.reset {
			m.cursor = id{}
		}
	}
	return true
}

func (m *Membership) overflow() {
	if m.opts.Policy == CloseSlow {
		m.counts.slow.Add(1)
		m.counts.dropped.Add(uint64(len(m.backlog) + len(m.queue)))
		m.backlog, m.queue = nil, nil
		m.end(ErrSlow)
		return
	}
	if m.queue[0].Kind != Gap {
		m.queue[0] = m.gap()
		m.counts.dropped.Add(1)
	}
	m.counts.dropped.Add(1)
	m.queue = slices.Delete(m.queue, 1, 2)
}

func (m *Membership) gap() *event { return &event{Event: Event{Kind: Gap, Room: m.room}} }

// signal has Next look again.
func (m *Membership) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
