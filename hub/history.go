package hub

import (
	"fmt"
	"math"
)

// historyRequest selects messages of the history: the first count after since, or,
// if no since was given, the last count.
type historyRequest struct {
	hasSince bool
	since    id
	count    int
}

// maxCount is the count of a request for all messages after since.
const maxCount = math.MaxInt32

// newHistoryRequest returns a request for all messages after since, or the last
// count if since is empty.
func newHistoryRequest(since string, count int) (historyRequest, error) {
	if since == "" {
		return historyRequest{count: count}, nil
	}
	after, err := parseID(since)
	if err != nil {
		return historyRequest{}, fmt.Errorf("%w: since: %w", ErrInvalid, err)
	}
	return historyRequest{hasSince: true, since: after, count: count}, nil
}

// historyPage is the part of the history that was requested.
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

// more reports whether there are messages after the page.
func (p historyPage) more() bool { return p.end().compare(p.newest) < 0 }

// end returns the ID of the last message of the page, or the position after which
// there is none.
func (p historyPage) end() id {
	if n := len(p.events); n > 0 {
		return p.events[n-1].id
	}
	return p.newest
}

// list returns the events of the page, with a Gap first if messages may be missing.
// It calls encode, so the caller must hold no mutex.
func (p historyPage) list(room string, encode func(Event) []byte) []Event {
	list := make([]Event, 0, len(p.events)+1)
	if p.missing {
		list = append(list, newGap(room).result(encode))
	}
	for _, e := range p.events {
		list = append(list, e.result(encode))
	}
	return list
}
