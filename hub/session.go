package hub

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// SessionOptions are the options of a [Session]. A zero value selects the default.
type SessionOptions struct {
	// MaxRooms is the maximum number of rooms that the session can be in at the
	// same time. Default: 100.
	MaxRooms int
}

// Session is one connection of a member who may be in many rooms. A single loop
// over Next receives the events of all of them, and what [Hub.SendTo] sends to
// the member. Create it with [NewSession]:
//
//	s := hub.NewSession(rooms, hub.Member{ID: user}, hub.SessionOptions{})
//	defer s.Close()
//	go readRequests(conn, s) // calls s.Join and s.Leave
//	for {
//		event, err := s.Next(ctx)
//		if err != nil {
//			code, reason := hub.CloseStatus(err)
//			return conn.Close(code, reason)
//		}
//		// Write event to conn.
//	}
//
// Next takes turns between the rooms that have events, so a busy room doesn't
// delay the others. The events of a room have the order of [Membership.Next];
// events of different rooms have no order. Queue and Policy apply to each room
// separately. Direct events have a queue of their own with the same options.
//
// A session has no goroutine, and needs about as much memory as its memberships
// would need without it. All methods except Next are safe for concurrent use,
// also with Next.
type Session struct {
	hub    Hub
	member Member
	opts   SessionOptions
	users  *users
	counts *counters
	encode func(Event) []byte
	user   user
	wake   chan struct{} // has an element if Next must check again

	mu          sync.Mutex
	rooms       map[string]*place
	direct      *place // queues Direct events; nil before the first
	first, last *place // list of the places that Next must look at, each once
	err         error  // what Next returns once the list is empty
}

// RoomError is an error of [Session.Next] for one room that has ended. The other
// rooms of the session continue, and so may calls of Next.
type RoomError struct {
	Room string
	// Last is the ID to pass as Since in order to join the room again without
	// missing a message, see [Membership.Last].
	Last string
	Err  error // ErrSlow
}

func (e *RoomError) Error() string { return fmt.Sprintf("hub: room %q: %v", e.Room, e.Err) }

func (e *RoomError) Unwrap() error { return e.Err }

// NewSession returns a session of m that isn't in any room yet. It must be closed.
// If m isn't valid or h is closed, all methods return the error.
func NewSession(h Hub, m Member, o SessionOptions) *Session {
	setDefault(&o.MaxRooms, 100)
	m.Data = slices.Clone(m.Data)
	ho, users, counts := h.internals()
	s := &Session{
		hub: h, member: m, opts: o, users: users, counts: counts, encode: ho.Encode,
		wake:  make(chan struct{}, 1),
		rooms: make(map[string]*place),
	}
	s.user = user{id: m.ID, receiver: s}
	if err := checkMember(m); err != nil {
		s.end(err)
		return s
	}
	if !users.add(&s.user) {
		s.end(ErrClosed)
		return s
	}
	counts.sessions.Add(1)
	return s
}

// Join joins a room, like [Hub.Join]. If it succeeds, the first event of the room
// that Next returns is Entered. Besides the errors of Hub.Join, it returns
// ErrJoined if the session is in the room already, ErrTooManyRooms, and after the
// session has ended the error of Next.
func (s *Session) Join(ctx context.Context, room string, o JoinOptions) error {
	p := &place{session: s}
	if err := s.reserve(room, p); err != nil {
		return err
	}
	o.place = p
	m, err := s.hub.Join(ctx, room, s.member, o)
	s.mu.Lock()
	left := p.left // by Leave, or because the session has ended
	switch {
	case err != nil && !left:
		delete(s.rooms, room)
	case err == nil && !left:
		p.m = m
		s.list(p)
	case err == nil:
		if err = s.err; err == nil {
			err = ErrLeft
		}
	}
	s.mu.Unlock()
	if left && m != nil {
		m.Leave()
	}
	return err
}

// reserve makes p the place in a room that is being joined.
func (s *Session) reserve(room string, p *place) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case s.rooms[room] != nil:
		return ErrJoined
	case len(s.rooms) >= s.opts.MaxRooms:
		return ErrTooManyRooms
	}
	s.rooms[room] = p
	return nil
}

// Leave leaves a room. A Join of it that is in progress returns ErrLeft. After Leave
// has returned, Next returns no further events of the room. Leave doesn't wait for
// Redis, and does nothing if the session isn't in the room.
func (s *Session) Leave(room string) {
	s.mu.Lock()
	p := s.rooms[room]
	if p == nil {
		s.mu.Unlock()
		return
	}
	delete(s.rooms, room)
	p.left = true
	m := p.m
	s.mu.Unlock()
	if m != nil {
		m.Leave()
	}
}

// Rooms returns the names of the rooms that the session is in, sorted.
func (s *Session) Rooms() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rooms []string
	for room, p := range s.rooms {
		if p.m != nil {
			rooms = append(rooms, room)
		}
	}
	slices.Sort(rooms)
	return rooms
}

// Last returns the ID to pass as Since to continue in a room after the last Message
// of it that Next has returned, see [Membership.Last]. It returns "" if the session
// isn't in the room.
func (s *Session) Last(room string) string {
	s.mu.Lock()
	var m *Membership
	if p := s.rooms[room]; p != nil {
		m = p.m
	}
	s.mu.Unlock()
	if m == nil {
		return ""
	}
	return m.Last()
}

// Next returns the next event of any room, or a Direct event. It blocks until there
// is one or ctx ends. Next must not be called concurrently.
//
// A *RoomError means that one room has ended because its queue has overflowed. To
// continue without it, call Next again; to close the connection is right, too,
// because the client can come back and continue in all rooms. All other errors,
// except that of ctx, are final: ErrLeft after Close, a *DisconnectError after
// [Hub.Disconnect], ErrSlow if the queue of Direct events has overflowed, and, once
// all queued events were returned, ErrClosed after the hub was closed.
func (s *Session) Next(ctx context.Context) (Event, error) {
	for {
		p, entered, err := s.take()
		switch {
		case err != nil:
			return Event{}, err
		case entered:
			s.counts.delivered.Add(1)
			e := &event{Event: Event{Kind: Entered, Room: p.m.room}}
			return e.result(s.encode), nil
		case p == nil:
			select {
			case <-s.wake:
			case <-ctx.Done():
				return Event{}, ctx.Err()
			}
			continue
		}
		e, err := p.m.pop()
		switch {
		case e != nil && s.putBack(p):
			p.m.count(e)
			return e.result(s.encode), nil
		case err != nil:
			if err := s.endPlace(p, err); err != nil {
				return Event{}, err
			}
		}
	}
}

// Close leaves all rooms and wakes Next. It doesn't wait for Redis. Further calls do
// nothing.
func (s *Session) Close() {
	s.end(ErrLeft)
	s.mu.Lock()
	if s.direct != nil {
		s.direct.left = true
	}
	s.mu.Unlock()
	if s.users.remove(&s.user) {
		s.counts.sessions.Add(-1)
	}
}

// end leaves all rooms and sets the error of Next, unless it is already set.
func (s *Session) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	var memberships []*Membership
	for _, p := range s.rooms {
		p.left = true
		if p.m != nil {
			memberships = append(memberships, p.m)
		}
	}
	clear(s.rooms)
	s.signal()
	s.mu.Unlock()
	for _, m := range memberships {
		m.Leave()
	}
}

// push queues a Direct event.
func (s *Session) push(e *event) {
	if p := s.directPlace(); p != nil {
		p.m.push(e)
	}
}

// directPlace returns nil if the session has ended.
func (s *Session) directPlace() *place {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil
	}
	if s.direct == nil {
		o, _, _ := s.hub.internals()
		s.direct = &place{session: s, entered: true}
		queue := RoomOptions{Queue: o.Queue, Policy: o.Policy}
		s.direct.m = newMembership("", s.member, &queue, JoinOptions{place: s.direct}, s.counts, func(*Membership) {})
	}
	return s.direct
}

func (s *Session) disconnect(err *DisconnectError) { s.end(err) }

// hubClosed doesn't leave the rooms, so that Next first returns what is queued.
func (s *Session) hubClosed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = ErrClosed
	}
	s.signal()
}
