package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// View draws the screen: a title, the totals, the tabs, the filter if there is one, the
// rows or the details, and two lines about the selection and the keys.
func (m *model) View() tea.View {
	lines, x, y := m.draw()
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	v.WindowTitle = "holdfast top"
	if x >= 0 {
		v.Cursor = tea.NewCursor(x, y)
		v.Cursor.Blink = false
	}
	return v
}

// draw returns exactly height lines, none of them wider than width, and where the cursor
// is; x is -1 without one.
func (m *model) draw() (lines []string, x, y int) {
	x = -1
	if !m.help { // that needs the whole screen
		lines = append(m.head(), m.tabs())
	}
	if m.filterShown() && !m.help {
		line, at := m.filterLine()
		if lines = append(lines, line); m.typing && m.prompt == nil {
			x, y = at, len(lines)-1
		}
	}
	foot := m.foot()
	if m.prompt != nil && !m.help {
		if m.prompt.label != "" && len(foot) >= 2 {
			x, y = m.answerAt(), m.height-2
		}
	}
	height := max(m.height-len(lines)-len(foot), 0)
	switch {
	case m.help:
		lines = append(lines, m.helpLines(height)...)
	case m.inspect != nil:
		lines = append(lines, m.inspectLines(height)...)
	default:
		lines = append(lines, m.tableLines(height)...)
	}
	for len(lines) < m.height-len(foot) {
		lines = append(lines, "")
	}
	lines = append(lines[:max(min(len(lines), m.height-len(foot)), 0)], foot...)
	lines = lines[:min(len(lines), max(m.height, 0))]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], max(m.width, 0), "")
	}
	if x >= m.width || y < 0 || y >= m.height {
		x = -1
	}
	return lines, x, y
}

// bodyHeight is about how many rows are shown.
func (m *model) bodyHeight() int { return max(m.height-7, 1) }

// head is the title and the totals, or why there are none.
func (m *model) head() []string {
	s := m.status
	if s == nil {
		return []string{"holdfast", ""}
	}
	title := "holdfast " + screen.Clean(s.Version) + "  " + screen.Clean(m.client.Address()) + "  up " + screen.Duration(m.now().Sub(s.Started))
	if s.ConfigFile != "" {
		title += "  " + screen.Clean(s.ConfigFile)
	}
	title += fmt.Sprintf(" (configuration %d)", s.Generation)
	clock := m.now().Format(time.TimeOnly)
	title = m.charset.Left(title, m.width-len(clock)-1) + " " + clock
	return []string{m.theme.Strong.Styled(title), m.totals()}
}

// totals is the line of numbers about all pools.
func (m *model) totals() string {
	s := m.status
	switch {
	case m.failed != nil:
		text := fmt.Sprintf("NO ANSWER for %s, what is shown is from %s: %s", screen.Duration(m.now().Sub(m.lost)), m.seen.Format(time.TimeOnly), screen.Clean(m.failed.Error()))
		return m.theme.Bad.Styled(m.charset.Left(text, m.width))
	case m.late() > 0:
		return m.theme.Bad.Styled(m.charset.Left(fmt.Sprintf("NO ANSWER yet for %s, what is shown is from %s", screen.Duration(m.late()), m.seen.Format(time.TimeOnly)), m.width))
	case m.paused:
		return m.theme.Warn.Styled(m.charset.Left("STOPPED at "+m.seen.Format(time.TimeOnly)+". Space: go on", m.width))
	case s.Draining:
		return m.theme.Warn.Styled(m.charset.Left(fmt.Sprintf("SHUTTING DOWN, %s left", count(s.Totals.Active, "session")), m.width))
	}
	const parts = 4
	chart := max((m.width-68)/3, 6)
	if m.width < 78 {
		chart = 0
	}
	text := "sessions " + m.charset.Left(screen.Count(s.Totals.Active), 6)
	for _, part := range []struct {
		name  string
		rate  float64
		value func(*sample) float64
	}{
		{"new/s", s.Rates.Opened, func(s *sample) float64 { return s.opened }},
		{"ended/s", s.Rates.Closed, func(s *sample) float64 { return s.closed }},
		{"messages/s", s.Rates.Messages, func(s *sample) float64 { return s.messages }},
	} {
		text += "  " + part.name + " " + m.charset.Right(screen.Rate(part.rate), 5)
		if chart > 0 {
			text += " " + m.theme.Accent.Styled(m.charset.Spark(m.history.of(part.value), chart))
		}
	}
	return text
}

// tabs is the line of the views.
func (m *model) tabs() string {
	var parts []string
	for v := range views {
		name := fmt.Sprintf(" %d %s ", v+1, viewNames[v])
		if v == eventsView && m.events.unread > 0 {
			name = fmt.Sprintf(" %d %s (%s) ", v+1, viewNames[v], count(m.events.unread, "new warning"))
		}
		if v == m.view {
			name = m.theme.Selected.Styled(name)
		}
		parts = append(parts, name)
	}
	line := strings.Join(parts, " ")
	if m.view == sessionsView && !m.filterShown() {
		line = m.noted(line)
	}
	return line
}

// noted puts the note about the sessions at the right of a line, if there is room.
func (m *model) noted(line string) string {
	note := m.sessionsNote()
	room := m.width - screen.Width(line) - 2
	if room < 8 {
		return line
	}
	style := m.theme.Weak
	if m.found.err != nil {
		style = m.theme.Bad
	}
	return line + "  " + style.Styled(m.charset.Right(note, room))
}

func (m *model) filterShown() bool {
	return m.inspect == nil && (m.typing || m.list().filter.Text() != "")
}

// filterLine is the filter, and in which column its cursor is.
func (m *model) filterLine() (line string, cursor int) {
	label := "filter: "
	if m.view == sessionsView {
		label = "find: "
	}
	width := max(min(m.width/2, 60)-len(label), 8)
	text, cursor := m.list().filter.View(m.charset, width)
	line = m.theme.Strong.Styled(label) + text
	if m.view == sessionsView {
		line = m.noted(line)
	}
	return line, cursor + len(label)
}

// tableLines is the table of the view.
func (m *model) tableLines(height int) []string {
	columns, rows, l := m.columns(), m.rows(), m.list()
	widths := screen.Layout(columns, m.width)
	heads := make([]screen.Cell, len(columns))
	for i, c := range columns {
		heads[i].Text = c.Title
		if i == l.sort {
			mark := m.charset.Up()
			if c.Right != l.reverse {
				mark = m.charset.Down()
			}
			heads[i].Text = mark + c.Title
		}
	}
	lines := []string{m.charset.Row(columns, widths, heads, m.width, m.theme.Strong)}
	at := l.settle(rows)
	l.scroll(len(rows), height-1)
	for i := l.first; i < len(rows) && len(lines) < height; i++ {
		base := screen.Style(nil)
		if m.stale() {
			base = m.theme.Weak
		}
		if i == at {
			base = m.theme.Selected
		}
		cells := make([]screen.Cell, len(rows[i].cells))
		for j, c := range rows[i].cells {
			cells[j] = c.Cell
		}
		lines = append(lines, m.charset.Row(columns, widths, cells, m.width, base))
	}
	if len(rows) == 0 {
		lines = append(lines, m.theme.Weak.Styled(m.charset.Left(m.nothing(), m.width)))
	}
	return lines
}

// nothing says why there is no row.
func (m *model) nothing() string {
	switch {
	case m.view == sessionsView && !m.current() && m.found.err == nil:
		return "searching"
	case m.view == eventsView && m.events.failed != nil:
		return "no events: " + screen.Clean(m.events.failed.Error())
	case m.list().filter.Text() != "":
		return "nothing matches; Esc clears the filter"
	}
	return [views]string{"no pools", "no sessions", "no session has ended yet", "nothing has happened yet"}[m.view]
}

// inspectLines is the details.
func (m *model) inspectLines(height int) []string {
	title, list := m.details()
	lines := []string{}
	const label = 14
	for _, d := range list {
		for i, text := range screen.Wrap(screen.Clean(d.text), max(m.width-label-1, 10)) {
			name := ""
			if i == 0 {
				name = screen.Clean(d.label)
			}
			lines = append(lines, m.theme.Weak.Styled(m.charset.Left(name, label))+" "+d.style.Styled(text))
		}
	}
	i := m.inspect
	height = max(height, 1)
	i.first = max(min(i.first, len(lines)-(height-1)), 0)
	i.first = min(i.first, len(lines))
	title = screen.Clean(title)
	if hidden := len(lines) - (height - 1); hidden > 0 {
		title += fmt.Sprintf("  (lines %d to %d of %d)", i.first+1, min(i.first+height-1, len(lines)), len(lines))
	}
	lines = append([]string{m.theme.Strong.Styled(title)}, lines[i.first:]...)
	return lines[:min(len(lines), height)]
}

// foot is a notice or what is cut off of the selected row, and the keys; or a question.
func (m *model) foot() []string {
	hints := m.theme.Weak.Styled(m.charset.Left(m.hints(), m.width))
	if m.help {
		return []string{hints}
	}
	if q := m.prompt; q != nil {
		lines := []string{m.charset.Rule(m.width)}
		for _, text := range screen.Wrap(q.question, m.width) {
			lines = append(lines, m.theme.Strong.Styled(text))
		}
		if q.warning != "" {
			for _, text := range screen.Wrap(q.warning, m.width) {
				lines = append(lines, m.theme.Bad.Styled(text))
			}
		}
		if q.label != "" {
			lines = append(lines, m.answerLine())
		}
		return append(lines, hints)
	}
	return []string{m.noticeLine(), hints}
}

// answerWidth is the width of what is typed as an answer, after its label.
func (m *model) answerLine() string {
	label := m.charset.Cut(m.prompt.label, m.answerLabel())
	text, _ := m.prompt.line.View(m.charset, max(m.width-screen.Width(label)-2, 1))
	return label + ": " + text
}

// answerLabel is how wide the label may be.
func (m *model) answerLabel() int { return max(m.width-22, m.width/2) }

func (m *model) answerAt() int {
	label := screen.Width(m.charset.Cut(m.prompt.label, m.answerLabel()))
	_, at := m.prompt.line.View(m.charset, max(m.width-label-2, 1))
	return label + 2 + at
}

// noticeLine is the last notice, or what the columns have no room for.
func (m *model) noticeLine() string {
	if m.notice.text != "" && m.now().Before(m.notice.until) {
		style := m.theme.Good
		if m.notice.bad {
			style = m.theme.Warn
		}
		return style.Styled(m.charset.Left(m.notice.text, m.width))
	}
	if m.inspect != nil {
		return ""
	}
	text, key := "", m.selected()
	p, b := m.backend(key)
	switch s := m.session(key); {
	case m.view == sessionsView && s != nil:
		text = strings.TrimSpace("route " + s.Route + "  " + claims(s))
	case m.view != backendsView:
	case b != nil && b.Reason != "":
		text = fmt.Sprintf("%s/%s: %s, %s", p.Name, b.Name, b.State, b.Reason)
	case b == nil && p != nil:
		text = poolWhy(p)
	}
	return m.charset.Left(screen.Clean(text), m.width)
}
