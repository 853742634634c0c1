package top

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// sessions is the page of sessions that is shown.
type sessions struct {
	list   []api.Session
	text   string   // of the filter that found them
	next   string   // where the next page begins, "" on the last one
	pages  []string // where this page and those before it begin
	err    error
	loaded bool

	number int // of the last request; the results of others are ignored
	due    bool
	cancel context.CancelFunc // of the request that runs; nil if there is none
	again  time.Time          // not before that
	// closeFound is set while the user waits for the result of a search to close a session.
	closeFound bool
}

const (
	// pageSize is how many sessions are fetched: what is shown, and some to scroll.
	pageSize = 200
	// maxRequests bounds the requests for one page: those of a search may have few sessions.
	maxRequests = 100
	// typingPause is how long a search waits for the next letter. Nobody sees the difference,
	// and it saves the balancer a search for each letter.
	typingPause = 60 * time.Millisecond
	// share bounds the time that the balancer searches: if it takes 1 s, the next refresh is
	// 10 s later.
	share = 10
)

// search is called when the filter of the sessions has changed.
func (m *model) search() tea.Cmd {
	m.found.stop()
	m.found.pages = []string{""}
	m.found.due = true
	return m.after(typingPause, searchMsg{m.found.number})
}

// stop forgets the request that runs.
func (f *sessions) stop() {
	f.number++
	f.due = false
	if f.cancel != nil {
		f.cancel()
		f.cancel = nil
	}
}

// fetch asks for the page of sessions that is shown.
func (m *model) fetch() tea.Cmd {
	f := &m.found
	f.stop()
	number, text := f.number, m.lists[sessionsView].filter.Text()
	filter, err := parseFilter(text)
	if err != nil {
		return func() tea.Msg { return sessionsMsg{number: number, text: text, err: err} }
	}
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	f.cancel = cancel
	query := api.SessionQuery{SessionFilter: filter, After: f.pages[len(f.pages)-1]}
	c, now := m.client, m.now
	return func() tea.Msg {
		defer cancel()
		begun := now()
		list, next, err := fetchPage(ctx, c, query)
		return sessionsMsg{number, text, list, next, err, now().Sub(begun)}
	}
}

// fetchPage fetches up to pageSize sessions. A search may find few in each answer.
func fetchPage(ctx context.Context, c Client, q api.SessionQuery) (list []api.Session, next string, err error) {
	for range maxRequests {
		q.Limit = pageSize - len(list)
		p, err := c.Sessions(ctx, q)
		if err != nil {
			return nil, "", err
		}
		list = append(list, p.Sessions...)
		if q.After = p.Next; q.After == "" || len(list) >= pageSize {
			break
		}
	}
	return list, q.After, nil
}

func (m *model) gotSessions(msg sessionsMsg) tea.Cmd {
	f := &m.found
	if msg.number != f.number {
		return nil // of a filter that has changed since
	}
	f.cancel = nil
	f.again = m.now().Add(share * msg.took)
	if errors.Is(msg.err, context.Canceled) {
		return nil
	}
	f.err, f.text = msg.err, msg.text
	if msg.err != nil {
		f.closeFound = false
		return nil
	}
	f.list, f.next, f.loaded = msg.sessions, msg.next, true
	if f.closeFound {
		f.closeFound = false
		return m.closeSelected()
	}
	return nil
}

// current reports whether what is listed was found by the filter as it is now.
func (m *model) current() bool {
	f := &m.found
	return f.loaded && !f.due && f.err == nil && f.text == m.lists[sessionsView].filter.Text()
}

// parseFilter reads a filter of sessions: words such as pool=chat, or sub=alice for a claim,
// and a text to search for.
func parseFilter(text string) (f api.SessionFilter, err error) {
	var search []string
	fields := map[string]*string{"id": &f.ID, "pool": &f.Pool, "backend": &f.Backend, "route": &f.Route, "client": &f.Client,
		"claim": &f.Claim, "age": &f.MinAge, "min_age": &f.MinAge, "max_age": &f.MaxAge, "idle": &f.MinIdle, "min_idle": &f.MinIdle}
	for _, word := range strings.Fields(text) {
		name, value, ok := strings.Cut(word, "=")
		field := fields[name]
		switch {
		case !ok || name == "" || strings.Contains(name, "/"):
			search = append(search, word)
			continue
		case field == nil:
			field, value = &f.Claim, word
		}
		if *field != "" {
			return f, fmt.Errorf("%s is there twice", name)
		}
		*field = value
	}
	if f.Backend != "" && f.Pool == "" {
		pool, backend, ok := strings.Cut(f.Backend, "/")
		if !ok {
			return f, fmt.Errorf("backend=%s needs its pool: pool=POOL backend=%s", f.Backend, f.Backend)
		}
		f.Pool, f.Backend = pool, backend
	}
	f.Search = strings.Join(search, " ")
	return f, nil
}

var sessionColumns = []screen.Column{
	{Title: "ID", Width: 20},
	{Title: "CLIENT", Width: 15, Grow: 2},
	{Title: "BACKEND", Width: 10, Grow: 2},
	{Title: "AGE", Width: 6, Right: true, Drop: 2},
	{Title: "IDLE", Width: 6, Right: true, Drop: 1},
	{Title: "MSGS", Width: 5, Right: true, Drop: 3},
	{Title: "BYTES", Width: 6, Right: true, Drop: 4},
	{Title: "ROUTE", Width: 12, Grow: 2, Drop: 6},
	{Title: "CLAIMS", Width: 14, Grow: 3, Drop: 5},
}

func (m *model) sessionRows() (rows []row) {
	for i := range m.found.list {
		s := &m.found.list[i]
		messages := s.FromClient.Messages + s.FromBackend.Messages
		bytes := s.FromClient.Bytes + s.FromBackend.Bytes
		rows = append(rows, row{key: s.ID, cells: []cell{
			text(s.ID), text(s.Client), text(s.Pool + "/" + s.Backend),
			number(s.Age, screen.Duration(seconds(s.Age))), number(s.Idle, screen.Duration(seconds(s.Idle))),
			number(float64(messages), screen.Count(messages)), number(float64(bytes), screen.Bytes(bytes)),
			text(s.Route), text(claims(s)),
		}})
	}
	return rows
}

// claims lists the claims of a session, by name.
func claims(s *api.Session) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(s.Claims)) {
		words = append(words, name+"="+s.Claims[name])
	}
	return strings.Join(words, " ")
}

// seconds is a duration, of a number that may be too large for one.
func seconds(s float64) time.Duration {
	if !(s > 0) {
		return 0
	}
	return time.Duration(min(s, 1e9) * float64(time.Second))
}

// session returns a listed session, nil if it isn't.
func (m *model) session(id string) *api.Session {
	for i := range m.found.list {
		if m.found.list[i].ID == id {
			return &m.found.list[i]
		}
	}
	return nil
}

// sessionsNote says how many of the sessions are listed.
func (m *model) sessionsNote() string {
	f := &m.found
	switch {
	case f.err != nil:
		return screen.Clean(f.err.Error())
	case !m.current():
		return "searching"
	}
	text := count(len(f.list), "session")
	if m.lists[sessionsView].filter.Text() != "" {
		text += " found"
	}
	if f.next != "" || len(f.pages) > 1 {
		text = fmt.Sprintf("page %d: %s", len(f.pages), text)
	}
	if f.next != "" {
		text += ", n: more"
	}
	return text
}
