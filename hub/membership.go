package hub

import (
	"context"
	"slices"
	"sync"
)

// event is an Event as it is queued. All members on this server share it.
type event struct {
	Event
	id, prev id   // for a Message: its ID, and that of the message before it in the room
	reset    bool // for a Gap: later IDs may be smaller than earlier ones

	encode  sync.Once
	encoded []byte
}

// result returns what Next returns. The first call encodes the event.
func (e *event) result(encode func(Event) []byte) Event {
	if encode == nil {
		return e.Event
	}
	e.encode.Do(func() { e.encoded = encode(e.Event) })
	result := e.Event
	result.Encoded = e.encoded
	return result
}

func newGap(room string) *event { return &event{Event: Event{Kind: Gap, Room: room}} }

func newMessage(room string, id, prev id, sender string, data []byte) *event {
	return &event{Event: Event{Kind: Message, Room: room, ID: id.String(), Sender: sender, Data: data}, id: id, prev: prev}
}

// Membership is a member's place in a room: a bounded queue of events. It has
// no goroutine of its own. It must be ended with [Membership.Leave], even after
// Next has returned an error. All methods except Next are safe for concurrent use,
// also with Next.
type Membership struct {
	room    string
	member  Member
	opts    *RoomOptions      // of the room
	onLeave func(*Membership) // called once
	pager   pager             // reads more of the history, nil for Memory
	counts  *counters         // of the hub
	encode  func(Event) []byte
	place   *place // in a session, or nil
	user    user   // listed if it isn't part of a session

	entry         string // names this membership in the room's presence
	wantsPresence bool   // deliver Joined and Left
	visible       bool   // is in the room's presence
	registered    bool   // entry has been written to Redis; the room's mutex guards it
	attachedAt    uint64 // the room's last delivery before this membership; the room's mutex guards it

	wake chan struct{} // has an element if Next must check again; nil in a session

	mu       sync.Mutex
	backlog  []*event // delivered before queue; doesn't count towards Options.Queue
	recovery recovery // what comes between backlog and queue
	queue    []*event
	cursor   id    // Messages up to this ID are queued or delivered
	last     id    // the last Message that Next has returned
	err      error // what Next returns once nothing is queued
	left     bool
	waiting  bool   // Next waits for an event
	pacer    *pacer // set if Next was woken by the fan-out and hasn't run yet
}

func newMembership(room string, m Member, o *RoomOptions, j JoinOptions, counts *counters, onLeave func(*Membership)) *Membership {
	m.Data = slices.Clone(m.Data)
	member := &Membership{
		room:          room,
		member:        m,
		opts:          o,
		wantsPresence: j.Presence,
		visible:       !j.Observer && !o.NoPresence,
		onLeave:       onLeave,
		counts:        counts,
		place:         j.place,
	}
	if j.place == nil {
		member.wake = make(chan struct{}, 1)
		member.user = user{id: m.ID, receiver: member}
	}
	return member
}

// Next returns the next event. It blocks until there is one or ctx ends. After
// Leave it returns ErrLeft, and after the queue has overflowed ErrSlow; events
// that were queued are discarded. After [Hub.Disconnect] it first returns the
// queued Direct events and then a *DisconnectError. After the hub is closed, it
// first returns the queued events and then ErrClosed. Next must not be called
// concurrently.
func (m *Membership) Next(ctx context.Context) (Event, error) {
	for {
		e, err := m.pop()
		switch {
		case e != nil:
			m.count(e)
			return e.result(m.encode), nil
		case err != nil:
			return Event{}, err
		}
		select {
		case <-m.wake:
		case <-ctx.Done():
			m.mu.Lock()
			m.setWaiting(false)
			m.mu.Unlock()
			return Event{}, ctx.Err()
		}
	}
}

// count counts an event that Next returns.
func (m *Membership) count(e *event) {
	m.counts.delivered.Add(1)
	if e.Kind == Gap {
		m.counts.gaps.Add(1)
	}
}

// pop returns the next event, or the error if nothing is queued and the membership
// has ended, or neither.
func (m *Membership) pop() (*event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.backlog) == 0 && m.recovery.more {
		m.nextPage()
		m.setWaiting(true)
		return nil, nil
	}
	from := &m.backlog
	if len(*from) == 0 {
		from = &m.queue
	}
	m.setWaiting(len(*from) == 0 && m.err == nil)
	if len(*from) == 0 {
		return nil, m.err
	}
	e := (*from)[0]
	(*from)[0] = nil
	*from = (*from)[1:]
	if len(*from) == 0 {
		*from = nil // free the memory while the member is idle
	}
	if e.Kind == Message {
		m.last = e.id
	}
	return e, nil
}

// Last returns the ID to pass as Since to continue after the last Message that
// Next has returned. Before the first Message, it is the position in the
// history at which the membership began.
func (m *Membership) Last() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.String()
}

// Leave ends the membership and wakes Next. It doesn't wait for Redis. Further
// calls do nothing.
func (m *Membership) Leave() {
	m.mu.Lock()
	first := !m.left
	m.left = true
	m.end(ErrLeft)
	m.backlog, m.queue = nil, nil
	m.mu.Unlock()
	if first {
		m.onLeave(m)
	}
}

// close ends the membership because the hub is closed.
func (m *Membership) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(ErrClosed)
}

// hubClosed does nothing: the room calls close.
func (m *Membership) hubClosed() {}

// disconnect ends the membership. Only Direct events remain queued.
func (m *Membership) disconnect(err *DisconnectError) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return
	}
	isOther := func(e *event) bool { return e.Kind != Direct }
	m.backlog = slices.DeleteFunc(m.backlog, isOther)
	m.queue = slices.DeleteFunc(m.queue, isOther)
	m.end(err)
}

// end sets the error of Next, unless it is already set. It requires m.mu.
func (m *Membership) end(err error) {
	if m.err == nil {
		m.err = err
		if m.recovery.more { // messages in the queue aren't the next ones
			m.recovery = recovery{}
			m.queue = slices.DeleteFunc(m.queue, isMessage)
		}
		m.signal()
	}
}

// push queues an event that has just happened.
func (m *Membership) push(e *event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(e)
}

// add requires m.mu.
func (m *Membership) add(e *event) {
	if m.err != nil || m.willRead(e) || !m.accepts(e) {
		return
	}
	m.queue = append(m.queue, e)
	if len(m.queue) > m.opts.Queue && m.recovery.more {
		m.skipMessages()
	}
	if len(m.queue) > m.opts.Queue {
		m.overflow()
	}
	m.signal()
}

// accepts reports whether e must be delivered, and moves the cursor. It
// requires m.mu.
func (m *Membership) accepts(e *event) bool {
	switch e.Kind {
	case Message:
		if e.id.compare(m.cursor) <= 0 {
			return false
		}
		m.cursor = e.id
	case Joined, Left:
		return m.wantsPresence && (e.Member.ID != m.member.ID || !m.visible)
	case Gap:
		if e.reset {
			m.cursor = id{}
		}
	}
	return true
}

// overflow applies the policy to a queue that is too long. It requires m.mu.
func (m *Membership) overflow() {
	if m.opts.Policy == CloseSlow {
		m.counts.slow.Add(1)
		m.counts.dropped.Add(uint64(len(m.backlog) + len(m.queue)))
		m.backlog, m.queue = nil, nil
		m.end(ErrSlow)
		return
	}
	if m.queue[0].Kind != Gap {
		m.queue[0] = newGap(m.room)
		m.counts.dropped.Add(1)
	}
	m.counts.dropped.Add(1)
	m.queue = slices.Delete(m.queue, 1, 2)
}

// signal wakes Next. It requires m.mu.
func (m *Membership) signal() {
	if m.place != nil {
		m.place.signal()
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
