package top

import (
	tea "charm.land/bubbletea/v2"
)

// show shows a view.
func (m *model) show(v view) tea.Cmd {
	m.view, m.typing, m.inspect = v, false, nil
	switch v {
	case sessionsView:
		if m.found.cancel == nil && !m.found.due {
			return m.fetch()
		}
	case eventsView:
		m.events.unread = 0
	}
	return nil
}

// find shows the sessions and has the user type what to search for.
func (m *model) find() tea.Cmd {
	l := &m.lists[sessionsView]
	cmd := m.show(sessionsView)
	if l.filter.Text() != "" {
		l.filter.Set("")
		cmd = m.filterChanged()
	}
	m.typing = true
	return cmd
}

// filter has the user type or change the filter of the view.
func (m *model) filter() tea.Cmd {
	m.inspect, m.typing = nil, true
	return nil
}

// filterChanged selects the first of what the filter finds.
func (m *model) filterChanged() tea.Cmd {
	l := m.list()
	l.key, l.at, l.first = "", 0, 0
	if m.view == sessionsView {
		m.found.closeFound = false
		return m.search()
	}
	return nil
}

// typedFilter ends the typing. It does nothing while a session is to be closed that is
// still searched for, so that keys that were typed ahead close no other.
func (m *model) typedFilter() {
	if !m.found.closeFound {
		m.typing = false
	}
}

// back leaves what was opened last: the filter at the end.
func (m *model) back() tea.Cmd {
	switch {
	case m.inspect != nil:
		m.inspect = nil
	default:
		m.typing = false
		if m.list().filter.Text() != "" {
			m.list().filter.Set("")
			return m.filterChanged()
		}
	}
	return nil
}

// sortBy sorts by the column that is n to the right of the one that counts now.
func (m *model) sortBy(n int) {
	l, columns := m.list(), len(m.columns())
	// The natural order is one more, before the first column.
	l.sort = (l.sort-natural+n+columns+1)%(columns+1) + natural
	l.reverse = false
}

// turn shows another page of the sessions.
func (m *model) turn(n int) tea.Cmd {
	f := &m.found
	switch {
	case m.inspect != nil, f.due, f.cancel != nil:
		return nil
	case n > 0 && f.next == "":
		m.say("this is the last page", false)
		return nil
	case n > 0:
		f.pages = append(f.pages, f.next)
	case len(f.pages) == 1:
		m.say("this is the first page", false)
		return nil
	default:
		f.pages = f.pages[:len(f.pages)-1]
	}
	l := m.list()
	l.key, l.at, l.first = "", 0, 0
	return m.fetch()
}

// listSessions shows the sessions of the selected backend or pool.
func (m *model) listSessions() tea.Cmd {
	p, b := m.backend(m.subject())
	if p == nil {
		return nil
	}
	text := "pool=" + p.Name
	if b != nil {
		text += " backend=" + b.Name
	}
	m.show(sessionsView)
	m.list().filter.Set(text)
	l := m.list()
	l.key, l.at, l.first = "", 0, 0
	m.found.pages = []string{""}
	return m.fetch()
}

// pause stops polling, or goes on with it.
func (m *model) pause() tea.Cmd {
	if m.paused = !m.paused; m.paused {
		return nil
	}
	return m.poll()
}

// suspend gives the terminal back to the shell, if there is one that can continue this.
func (m *model) suspend() tea.Cmd {
	if !canSuspend() {
		m.say("no shell started this that could continue it: not suspended", true)
		return nil
	}
	return tea.Suspend
}
