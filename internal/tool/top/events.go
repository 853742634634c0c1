package top

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// eventLog has the last events, the oldest first.
type eventLog struct {
	list   []api.Event
	failed error // why there is no stream; nil while there is one
	unread int   // warnings and errors since the view was last shown
}

const maxEvents = 1000

func (m *model) gotEvent(msg eventMsg) {
	l := &m.events
	l.failed = nil
	// A stream that begins again brings what is known already.
	if slices.ContainsFunc(l.list, func(e api.Event) bool { return e.ID == msg.event.ID && e.Time.Equal(msg.event.Time) }) {
		return
	}
	if len(l.list) >= maxEvents {
		l.list = l.list[:copy(l.list, l.list[1:])]
	}
	l.list = append(l.list, msg.event)
	if shown := &m.lists[eventsView]; shown.at == 0 {
		shown.key = "" // the newest stays selected
	}
	if msg.event.Level != "info" && m.view != eventsView {
		l.unread++
	}
}

var eventColumns = []screen.Column{
	{Title: "TIME", Width: 8},
	{Title: "LEVEL", Width: 5, Drop: 2},
	{Title: "KIND", Width: 11, Drop: 3},
	{Title: "BACKEND", Width: 12, Grow: 1, Drop: 1},
	{Title: "EVENT", Width: 20, Grow: 4},
}

// eventRows lists the events, the newest first.
func (m *model) eventRows() (rows []row) {
	filter := strings.ToLower(strings.TrimSpace(m.lists[eventsView].filter.Text()))
	for i := len(m.events.list) - 1; i >= 0; i-- {
		e := &m.events.list[i]
		where := eventWhere(e)
		if !matches(filter, where, e.Kind, e.Level, e.Message) {
			continue
		}
		level := text(e.Level)
		level.Style = m.levelStyle(e.Level)
		rows = append(rows, row{key: eventKey(e), cells: []cell{
			{Cell: screen.Cell{Text: e.Time.Local().Format(time.TimeOnly)}}, level, text(e.Kind), text(where), text(e.Message)}})
	}
	return rows
}

func eventKey(e *api.Event) string { return e.Time.Format(time.RFC3339Nano) + e.Kind + e.Message }

func eventWhere(e *api.Event) string {
	if e.Backend == "" {
		return e.Pool
	}
	return e.Pool + "/" + e.Backend
}

func (m *model) levelStyle(level string) screen.Style {
	switch level {
	case "warn":
		return m.theme.Warn
	case "error":
		return m.theme.Bad
	}
	return nil
}

// event returns an event by the key of its row.
func (m *model) event(key string) *api.Event {
	for i := range m.events.list {
		if e := &m.events.list[i]; eventKey(e) == key {
			return e
		}
	}
	return nil
}
