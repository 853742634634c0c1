package hub

// historyRequest is the part of JoinOptions that selects messages of the
// history: all after since, or, if no Since was given, the last count.
type historyRequest struct {
	hasSince bool
	since    id
	count    int
}

// historyPage is the part of the history that a new member gets.
type historyPage struct {
	events  []*event
	after   id   // the message before events
	newest  id   // the room's newest message when the history was read, zero if there is none
	missing bool // messages before events may be missing
}

// page returns the page that consists of events, which were read for this
// request, oldest first. events and newest must be from the same moment.
func (r historyRequest) page(events []*event, newest id) historyPage {
	p := historyPage{events: events, after: newest, newest: newest}
	if len(events) > 0 {
		p.after = events[0].prev
	}
	if r.hasSince && p.after != r.since {
		// Messages were trimmed, or Redis has lost the message that the member
		// has, and possibly others.
		p.missing = true
	}
	return p
}
