package hub

import "sync"

// localRoom is the part of a room that this server keeps: the memberships on
// this server, and who is present on any server. Its methods require mu.
type localRoom struct {
	room   string
	counts *counters // of the hub

	mu          sync.Mutex
	memberships map[*Membership]struct{}
	watching    map[*Membership]struct{} // those that want presence events
	presence    presence

	fanOut     *fanOut
	deliveries uint64        // so far
	outbox     []delivery    // those that fanOut still has to deliver, in order
	targets    []*Membership // that still have to get the first of them, once it has begun
}

func (r *localRoom) attach(m *Membership) {
	if r.memberships == nil {
		r.memberships = make(map[*Membership]struct{})
	}
	if len(r.memberships) == 0 {
		r.counts.rooms.Add(1)
	}
	r.memberships[m] = struct{}{}
	m.attachedAt = r.deliveries
	if m.wantsPresence {
		if r.watching == nil {
			r.watching = make(map[*Membership]struct{})
		}
		r.watching[m] = struct{}{}
	}
	r.counts.memberships.Add(1)
}

// remove does nothing if the membership was already removed by closeAll.
func (r *localRoom) remove(m *Membership) {
	if _, ok := r.memberships[m]; !ok {
		return
	}
	delete(r.memberships, m)
	delete(r.watching, m)
	r.counts.memberships.Add(-1)
	if len(r.memberships) == 0 {
		r.counts.rooms.Add(-1)
	}
}

func (r *localRoom) push(e *event) {
	r.deliver(delivery{events: []*event{e}})
}

// catchUp delivers messages that were read late and together. more says that there are
// others after them in the history.
func (r *localRoom) catchUp(events []*event, more bool) {
	r.deliver(delivery{events: events, caughtUp: true, more: more})
}

func (r *localRoom) pushNotice(data []byte) {
	r.push(&event{Event: Event{Kind: Notice, Room: r.room, Data: data}})
}

func (r *localRoom) pushPresence(k Kind, m Member) {
	if len(r.watching) == 0 {
		return
	}
	e := &event{Event: Event{Kind: k, Room: r.room, Member: m}}
	r.deliver(delivery{events: []*event{e}, forWatchers: true})
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
	r.flush()
	for m := range r.memberships {
		m.close()
		r.remove(m)
	}
}
