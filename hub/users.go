package hub

import "sync"

// users finds the memberships and sessions on this server by Member.ID, for SendTo
// and Disconnect. A membership that is part of a session isn't in it: the session
// is.
type users struct {
	mu     sync.Mutex
	byID   map[string]*user
	closed bool
}

// user is an entry of users: a membership or a session. Entries with the same ID
// are a list.
type user struct {
	id         string // Member.ID
	receiver   receiver
	next, prev *user
	listed     bool
}

type receiver interface {
	push(e *event)
	// disconnect ends the receiver. Next returns err after the Direct events that
	// are queued.
	disconnect(err *DisconnectError)
	// hubClosed is called when the hub is closed, after its rooms were closed.
	hubClosed()
}

// add reports false if the hub is closed.
func (u *users) add(entry *user) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	if u.byID == nil {
		u.byID = make(map[string]*user)
	}
	if first := u.byID[entry.id]; first != nil {
		entry.next, first.prev = first, entry
	}
	u.byID[entry.id] = entry
	entry.listed = true
	return true
}

// remove reports false if the entry isn't listed.
func (u *users) remove(entry *user) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !entry.listed {
		return false
	}
	entry.listed = false
	if entry.next != nil {
		entry.next.prev = entry.prev
	}
	switch {
	case entry.prev != nil:
		entry.prev.next = entry.next
	case entry.next != nil:
		u.byID[entry.id] = entry.next
	default:
		delete(u.byID, entry.id)
	}
	entry.next, entry.prev = nil, nil
	return true
}

// find returns the receivers with an ID.
func (u *users) find(id string) (found []receiver) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for entry := u.byID[id]; entry != nil; entry = entry.next {
		found = append(found, entry.receiver)
	}
	return found
}

func (u *users) direct(id string, data []byte) {
	found := u.find(id)
	if len(found) == 0 {
		return
	}
	e := &event{Event: Event{Kind: Direct, Data: data}}
	for _, r := range found {
		r.push(e)
	}
}

func (u *users) disconnect(id string, err *DisconnectError) {
	for _, r := range u.find(id) {
		r.disconnect(err)
	}
}

// close ends all sessions with ErrClosed. The memberships are ended by their
// rooms before.
func (u *users) close() {
	u.mu.Lock()
	var all []receiver
	for _, entry := range u.byID {
		for ; entry != nil; entry = entry.next {
			all = append(all, entry.receiver)
		}
	}
	u.closed = true
	u.mu.Unlock()
	for _, r := range all {
		r.hubClosed()
	}
}
