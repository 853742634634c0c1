package hub

// resume is the part of JoinOptions that says what of the history is wanted:
// all after since, or, where that wasn't given, the last count messages.
type resume struct {
	given bool
	since id
	count int
}

// past is what of the history a member gets, and where that lies in it.
type past struct {
	events  []*event
	from    id // the message before them
	newest  id // of the room, when the history was read: zero if it has none
	missing bool
}

// of makes a past of the messages that were asked for, oldest first. All of
// them, and newest, were read at one moment.
func (r resume) of(events []*event, newest id) past {
	p := past{events: events, from: newest, newest: newest}
	if len(events) > 0 {
		p.from = events[0].prev
	}
	if r.given && p.from != r.since {
		// Trimmed since then, or Redis has lost the message that the member
		// has, and who knows which others.
		p.missing = true
	}
	return p
}
