package top

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

// The messages that commands of this package send.
type (
	tickMsg   struct{}
	statusMsg struct {
		status api.Status
		err    error
		asked  time.Time
	}
	searchMsg   struct{ number int }
	sessionsMsg struct {
		number   int
		text     string // of the filter
		sessions []api.Session
		next     string
		err      error
		took     time.Duration
	}
	sessionMsg struct {
		id      string
		session api.Session
		err     error
	}
	eventMsg       struct{ event api.Event }
	eventsEndedMsg struct{ err error }
	eventsAgainMsg struct{}
	doneMsg        struct {
		text     string
		warnings []string
		err      error
	}
)

// patience is how long a request may take.
const patience = 10 * time.Second

func ask(ctx context.Context, c Client) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.Status(ctx)
}

// poll asks for the status, unless a request for it runs.
func (m *model) poll() tea.Cmd {
	if !m.asked.IsZero() {
		return nil
	}
	m.asked = m.now()
	ctx, c, asked := m.ctx, m.client, m.asked
	return func() tea.Msg {
		s, err := ask(ctx, c)
		return statusMsg{s, err, asked}
	}
}

func (m *model) gotStatus(msg statusMsg) tea.Cmd {
	m.asked = time.Time{}
	if msg.err != nil {
		if errors.Is(msg.err, context.Canceled) {
			return nil
		}
		if m.failed == nil {
			m.lost = m.now()
		}
		m.failed = msg.err
		return nil
	}
	back := m.failed != nil
	long := m.now().Sub(m.lost) >= 2*time.Second
	m.failed = nil
	if old := m.status; old != nil && !old.Started.Equal(msg.status.Started) {
		m.history, m.drains = history{}, map[string]drained{}
		m.found.pages = []string{""} // cursors of another process mean nothing
		m.say("the balancer was started again at "+msg.status.Started.Local().Format(time.TimeOnly), true)
	} else if back && long {
		m.say("the balancer answers again", false)
	}
	m.status, m.seen = &msg.status, m.now()
	m.history.add(m.seen, m.status)
	m.noteDrains()
	if back && m.view == sessionsView {
		return m.fetch()
	}
	return nil
}

// watch follows the events until the end of the program.
func (m *model) watch() tea.Cmd {
	ctx, c, send := m.ctx, m.client, m.send
	return func() tea.Msg {
		err := c.Events(ctx, client.Watch{}, func(e api.Event) error {
			send(eventMsg{e})
			return ctx.Err()
		})
		return eventsEndedMsg{err}
	}
}

// drained is how a drain began.
type drained struct {
	since time.Time
	most  int // sessions
}

// noteDrains remembers with how many sessions each drain began, or was first seen.
func (m *model) noteDrains() {
	for _, p := range m.status.Pools {
		for i := range p.Backends {
			b, key := &p.Backends[i], backendKey(p.Name, p.Backends[i].Name)
			if b.Drain == nil {
				delete(m.drains, key)
				continue
			}
			d := m.drains[key]
			if !d.since.Equal(b.Drain.Since) {
				d = drained{since: b.Drain.Since}
			}
			d.most = max(d.most, b.Sessions)
			m.drains[key] = d
		}
	}
}
