package hub

import "slices"

// A member may have missed more than should be in memory at once: the history that it
// joins with, or what came during an outage. So it gets them page by page: when Next
// has returned all events of a page, the next page is read. Until the last page has
// been read, new messages needn't be queued, because they are in the history too.

// pageBytes is the size of a page. A page ends with the message that reaches it.
const pageBytes = 64 << 10

// pager reads the history for memberships.
type pager interface {
	// readMore reads the next page in the background and calls addPage. The caller
	// holds m.mu.
	readMore(m *Membership)
}

// recovery is the state of a membership that hasn't got everything from the history.
// The mutex of the membership guards it.
type recovery struct {
	more    bool // messages after backlog must be read from the history
	reading bool // the next page is being read; messages are queued, as it may be the last
	dropped bool // messages were dropped from the queue since then, so another page is needed
	after   id   // the next page begins after this message
}

// nextPage schedules the reading of the next page. It requires m.mu.
func (m *Membership) nextPage() {
	if !m.recovery.reading {
		m.recovery.reading = true
		m.pager.readMore(m)
	}
}

// pageRequest returns the request for the next page. It reports false if the
// membership has ended.
func (m *Membership) pageRequest() (historyRequest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return historyRequest{hasSince: true, since: m.recovery.after, count: maxCount}, m.err == nil
}

// start adds the first page. The membership was attached to its room before the page
// was read, so messages of the page may also be queued.
func (m *Membership) start(p historyPage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = p.after
	m.appendPage(p)
}

// addPage adds a page after the first.
func (m *Membership) addPage(p historyPage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appendPage(p)
}

// appendPage requires m.mu.
func (m *Membership) appendPage(p historyPage) {
	if m.err != nil {
		return
	}
	if p.missing {
		m.backlog = append(m.backlog, newGap(m.room))
	}
	m.backlog = append(m.backlog, p.events...)
	r := &m.recovery
	r.after = p.end()
	// After a reset, IDs in the queue can't be compared with those of the page.
	r.more = p.more() || r.dropped || slices.ContainsFunc(m.queue, func(e *event) bool { return e.reset })
	r.reading, r.dropped = false, false
	if r.more {
		m.queue = slices.DeleteFunc(m.queue, isMessage)
		m.cursor = r.after
	} else {
		inPage := func(e *event) bool { return e.Kind == Message && e.id.compare(p.newest) <= 0 }
		m.queue = slices.DeleteFunc(m.queue, inPage)
		if m.cursor.compare(p.newest) < 0 {
			m.cursor = p.newest
		}
	}
	m.signal()
}

// catchUp queues messages that were read late and together. more says that there are
// others after them in the history. The member isn't to blame for that, so they don't
// count towards its limit.
func (m *Membership) catchUp(events []*event, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.err != nil:
		return
	case m.recovery.more:
		m.recovery.dropped = m.recovery.reading
		return
	case len(m.backlog) > 0: // it hasn't read the previous ones yet
		m.backlog, m.queue = append(m.backlog, m.queue...), nil
		m.recovery = recovery{more: true, after: m.cursor}
		return
	}
	m.backlog, m.queue = m.queue, nil
	for _, e := range events {
		if m.accepts(e) {
			m.backlog = append(m.backlog, e)
		}
	}
	if more {
		m.recovery = recovery{more: true, after: m.cursor}
	}
	m.signal()
}

// willRead reports whether e needn't be queued because it will be read from the
// history. A Gap is noticed in the page. It requires m.mu.
func (m *Membership) willRead(e *event) bool {
	return (e.Kind == Message || e.Kind == Gap) && m.recovery.more && (!m.recovery.reading || m.recovery.dropped)
}

// skipMessages drops messages from the queue, because they will be read from the
// history. It requires m.mu.
func (m *Membership) skipMessages() {
	m.recovery.dropped = m.recovery.reading
	m.queue = slices.DeleteFunc(m.queue, isMessage)
	m.cursor = m.recovery.after
}

func isMessage(e *event) bool { return e.Kind == Message }
