package top

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// row is a row of a view.
type row struct {
	key   string // identifies it, also after others came or went
	cells []cell
}

// cell is a cell, and what it is sorted by: by if its column has numbers, or else its text.
type cell struct {
	screen.Cell
	by float64
}

// text is a cell with a text of any origin.
func text(s string) cell { return cell{Cell: screen.Cell{Text: screen.Clean(s)}} }

func number(by float64, s string) cell { return cell{screen.Cell{Text: s}, by} }

func compare(a, b float64) int { return cmp.Compare(a, b) }

// columns returns those of the view that is shown.
func (m *model) columns() []screen.Column {
	switch m.view {
	case sessionsView:
		return sessionColumns
	case causesView:
		return causeColumns
	case eventsView:
		return eventColumns
	}
	return backendColumns
}

// rows lists the rows of the view that is shown, in its order.
func (m *model) rows() (rows []row) {
	switch m.view {
	case backendsView:
		rows = m.backendRows()
	case sessionsView:
		rows = m.sessionRows()
	case causesView:
		rows = m.causeRows()
	case eventsView:
		rows = m.eventRows()
	}
	l, columns := m.list(), m.columns()
	if l.sort == natural {
		if l.reverse && m.view != backendsView { // a pool stays above its backends
			slices.Reverse(rows)
		}
		return rows
	}
	i, descending := l.sort, columns[l.sort].Right != l.reverse
	slices.SortStableFunc(rows, func(a, b row) int {
		c := compare(a.cells[i].by, b.cells[i].by)
		if c == 0 {
			c = strings.Compare(a.cells[i].Text, b.cells[i].Text)
		}
		if descending {
			c = -c
		}
		return c
	})
	return rows
}

// settle finds the selected row again and returns its number, -1 if there is no row.
func (l *list) settle(rows []row) int {
	if len(rows) == 0 {
		l.at, l.first = 0, 0
		return -1
	}
	if i := slices.IndexFunc(rows, func(r row) bool { return r.key == l.key }); i >= 0 && l.key != "" {
		l.at = i
	}
	l.at = min(max(l.at, 0), len(rows)-1)
	l.key = rows[l.at].key
	return l.at
}

// scroll moves the rows that are shown so that the selected one is among them.
func (l *list) scroll(rows, height int) {
	height = max(height, 1)
	l.first = min(max(l.first, l.at-height+1), l.at)
	l.first = max(min(l.first, rows-height), 0)
}

// move selects the row that is n below the selected one.
func (m *model) move(n int) {
	l, rows := m.list(), m.rows()
	if at := l.settle(rows); at >= 0 {
		l.at = min(max(at+n, 0), len(rows)-1)
		l.key = rows[l.at].key
	}
}

// selected returns the key of the selected row, "" if there is none.
func (m *model) selected() string {
	rows := m.rows()
	if at := m.list().settle(rows); at >= 0 {
		return rows[at].key
	}
	return ""
}
