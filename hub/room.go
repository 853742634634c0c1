package hub

import "sync"

// audience is a room as one server has it: its memberships there, and who is
// present anywhere. Its methods need mu.
type audience struct {
	room   string
	counts *counters // the hub's

	mu       sync.Mutex
	here     map[*Membership]struct{}
	presence presence
}

func (a *audience) attach(m *Membership) {
	if a.here == nil {
		a.here = make(map[*Membership]struct{})
	}
	if len(a.here) == 0 {
		a.counts.rooms.Add(1)
	}
	a.here[m] = struct{}{}
	a.counts.memberships.Add(1)
}

// remove does nothing if close came before.
func (a *audience) remove(m *Membership) {
	if _, ok := a.here[m]; !ok {
		return
	}
	delete(a.here, m)
	a.counts.memberships.Add(-1)
	if len(a.here) == 0 {
		a.counts.rooms.Add(-1)
	}
}

func (a *audience) push(e *event) {
	for m := range a.here {
		m.push(e)
	}
}

func (a *audience) catchUp(events []*event) {
	for m := range a.here {
		m.catchUp(events)
	}
}

func (a *audience) notice(data []byte) {
	a.push(&event{Event: Event{Kind: Notice, Room: a.room, Data: data}})
}

func (a *audience) joined(entry string, m Member) {
	if a.presence.add(entry, m) {
		a.tell(Joined, m)
	}
}

func (a *audience) left(entry string) {
	if m, news := a.presence.remove(entry); news != 0 {
		a.tell(news, m)
	}
}

func (a *audience) tell(k Kind, m Member) {
	a.push(&event{Event: Event{Kind: k, Room: a.room, Member: m}})
}

// close ends all memberships with ErrClosed.
func (a *audience) close() {
	for m := range a.here {
		m.closed()
		a.remove(m)
	}
}
