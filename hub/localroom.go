package hub

import "sync"

// localRoom is the part of a room that this server keeps: the memberships on
// this server, and who is present on any server. Its methods require mu.
type localRoom struct {
	room   string
	counts *counters // of the hub

	mu          sync.Mutex
	memberships map[*Membership]struct{}
	presence    presence
}

func (r *localRoom) attach(m *Membership) {
	if r.memberships == nil {
		r.memberships = make(map[*Membership]struct{})
	}
	if len(r.memberships) == 0 {
		r.counts.rooms.Add(1)
	}
	r.memberships[m] = struct{}{}
	r.counts.memberships.Add(1)
}

// remove does nothing if the membership was already removed by closeAll.
func (r *localRoom) remove(m *Membership) {
	if _, ok := r.memberships[m]; !ok {
		return
	}
	delete(r.memberships, m)
	r.counts.memberships.Add(-1)
	if len(r.memberships) == 0 {
		r.counts.rooms.Add(-1)
	}
}

func (r *localRoom) push(e *event) {
	for m := range r.memberships {
		m.push(e)
	}
}

func (r *localRoom) catchUp(events []*event) {
	for m := range r.memberships {
		m.catchUp(events)
	}
}

func (r *localRoom) pushNotice(data []byte) {
	r.push(&event{Event: Event{Kind: Notice, Room: r.room, Data: data}})
}

func (r *localRoom) pushPresence(k Kind, m Member) {
	r.push(&event{Event: Event{Kind: k, Room: r.room, Member: m}})
}

// addPresent adds an entry to the presence and pushes Joined if that is news.
func (r *localRoom) addPresent(entry string, m Member) {
	if r.presence.add(entry, m) {
		r.pushPresence(Joined, m)
	}
}

// removePresent removes an entry from the presence and pushes the Left or
// Joined event that follows from it, if any.
func (r *localRoom) removePresent(entry string) {
	if m, kind := r.presence.remove(entry); kind != 0 {
		r.pushPresence(kind, m)
	}
}

// closeAll ends all memberships with ErrClosed.
func (r *localRoom) closeAll() {
	for m := range r.memberships {
		m.close()
		r.remove(m)
	}
}
