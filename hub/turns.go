package hub

import "errors"

// place is a session's place in a room. The session's mutex guards it, which may be
// locked while a membership's is, not the other way round.
type place struct {
	session *Session
	m       *Membership // nil while Join is in progress
	entered bool        // Next has returned Entered
	left    bool        // nothing more is delivered
	listed  bool        // is in the list of Session.first
	next    *place      // in this list
}

// take removes the first place from the list. entered reports that the next event of
// this place is Entered.
func (s *Session) take() (p *place, entered bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.first != nil {
		p = s.first
		s.first, p.next, p.listed = p.next, nil, false
		if p.left {
			continue
		}
		if !p.entered {
			p.entered = true
			s.list(p)
			return p, true, nil
		}
		return p, false, nil
	}
	return nil, false, s.err
}

// putBack appends a place to the list, since it may have more events. It reports
// false if the room was left in the meantime.
func (s *Session) putBack(p *place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.left {
		s.list(p)
	}
	return !p.left
}

// endPlace handles the error of a place's membership. It returns an error if Next
// must return one.
func (s *Session) endPlace(p *place, err error) error {
	if p.m.room == "" { // Direct events
		s.end(err)
		return nil // take returns it
	}
	if !errors.Is(err, ErrSlow) {
		return nil // the session has ended, too, or the room was left
	}
	s.mu.Lock()
	left := p.left
	if !left {
		delete(s.rooms, p.m.room)
		p.left = true
	}
	s.mu.Unlock()
	if left {
		return nil
	}
	p.m.Leave()
	return &RoomError{Room: p.m.room, Last: p.m.Last(), Err: err}
}

// list appends a place to the list, unless it is in it. It requires s.mu.
func (s *Session) list(p *place) {
	if p.listed {
		return
	}
	p.listed = true
	if s.first == nil {
		s.first = p
	} else {
		s.last.next = p
	}
	s.last = p
	s.signal()
}

// signal is called by the membership when Next must look at it.
func (p *place) signal() {
	p.session.mu.Lock()
	defer p.session.mu.Unlock()
	if p.m != nil && !p.left {
		p.session.list(p)
	}
}

// signal wakes Next.
func (s *Session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
