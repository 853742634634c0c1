package top

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// prompt is a question before something is changed. It names what will be changed by its
// id or name, so that the answer is about nothing else, whatever happens to the list
// meanwhile.
type prompt struct {
	question string // safe for the terminal
	warning  string
	label    string // of the line of input; "" if there is none
	line     screen.Line
	do       func(context.Context, string) (text string, warnings []string, err error)
}

// change is a change of a backend's state.
type change int

const (
	drain change = iota
	maint
	ready
)

// askChange asks about the selected backend.
func (m *model) askChange(c change) tea.Cmd {
	p, b := m.backend(m.subject())
	if b == nil {
		m.say("select a backend first", true)
		return nil
	}
	client, pool, backend, name := m.client, p.Name, b.Name, screen.Clean(p.Name+"/"+b.Name)
	q := &prompt{}
	switch c {
	case drain:
		q.question = fmt.Sprintf("Drain %s? It gets no new sessions. Its %s are moved to others or closed within the timeout.", name, count(b.Sessions, "session"))
	case maint:
		q.question = fmt.Sprintf("Maintenance of %s? As a drain of its %s; it isn't checked any more.", name, count(b.Sessions, "session"))
	case ready:
		q.question = fmt.Sprintf("Make %s ready? A drain or maintenance ends, and it gets new sessions.", name)
	}
	if c != ready {
		q.label = "timeout, such as 90s (empty: that of the pool)"
		others := 0
		for i := range p.Backends {
			if o := &p.Backends[i]; o.Name != b.Name && takes(o) {
				others++
			}
		}
		if others == 0 {
			q.warning = "No other backend of this pool takes new sessions!"
		}
	}
	q.do = func(ctx context.Context, timeout string) (text string, _ []string, err error) {
		var r api.BackendResult
		switch c {
		case drain:
			r, err = client.Drain(ctx, pool, backend, timeout)
			text = name + " is being drained"
		case maint:
			r, err = client.Maint(ctx, pool, backend, timeout)
			text = name + " is in maintenance"
		case ready:
			r, err = client.Ready(ctx, pool, backend)
			text = name + " is ready"
		}
		return text, r.Warnings, err
	}
	m.prompt = q
	return nil
}

// closeSelected asks about the selected session, or the one whose details are shown.
func (m *model) closeSelected() tea.Cmd {
	id := m.subject()
	s := m.session(id)
	if m.inspect != nil && m.inspect.kind == inspectSession {
		s = &m.inspect.session
	}
	if s == nil {
		m.say("there is no session to close", true)
		return nil
	}
	id = s.ID
	name, client := "session "+screen.Clean(id), m.client
	who := screen.Clean(s.Client)
	if c := claims(s); c != "" {
		who += " (" + screen.Clean(c) + ")"
	}
	m.typing = false
	m.prompt = &prompt{
		question: fmt.Sprintf("Close %s of %s on %s?", name, who, screen.Clean(s.Pool+"/"+s.Backend)),
		label:    "reason for the client (may be empty), or CODE REASON",
		do: func(ctx context.Context, answer string) (string, []string, error) {
			r := api.CloseRequest{SessionFilter: api.SessionFilter{ID: id}}
			r.Code, r.Reason = parseClose(answer)
			res, err := client.CloseSessions(ctx, r)
			if err == nil && res.Sessions == 0 {
				return name + " has ended already", nil, nil
			}
			text := fmt.Sprintf("%s is being closed with %d", name, cmp.Or(r.Code, api.DefaultCloseCode))
			if r.Reason != "" {
				text += fmt.Sprintf(" %q", r.Reason)
			}
			return text, nil, err
		},
	}
	return nil
}

// parseClose reads a reason, or a close code and a reason.
func parseClose(answer string) (code int, reason string) {
	word, rest, _ := strings.Cut(answer, " ")
	if n, err := strconv.Atoi(word); err == nil && len(word) == 4 {
		return n, strings.TrimSpace(rest)
	}
	return 0, answer
}

// closeFound asks about the session that a search has found, as soon as the search is
// done: until then another one may be selected.
func (m *model) closeFound() tea.Cmd {
	if m.view != sessionsView {
		return nil
	}
	if m.current() && m.found.cancel == nil {
		return m.closeSelected()
	}
	m.found.closeFound = true
	if m.found.due || m.found.cancel == nil {
		return m.fetch()
	}
	return nil
}

// confirm does what the prompt asks about.
func (m *model) confirm() tea.Cmd {
	do, answer, parent := m.prompt.do, strings.TrimSpace(m.prompt.line.Text()), m.ctx
	m.prompt = nil
	m.say("asking the balancer", false)
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(parent, patience)
		defer cancel()
		text, warnings, err := do(ctx, answer)
		return doneMsg{text, warnings, err}
	}
}

// done shows what became of a change, and asks for what it has changed.
func (m *model) done(msg doneMsg) tea.Cmd {
	switch {
	case msg.err != nil:
		m.say("failed: "+msg.err.Error(), true)
	case len(msg.warnings) > 0:
		m.say(msg.text+"; "+strings.Join(msg.warnings, "; "), true)
	default:
		m.say(msg.text, false)
	}
	if m.view == sessionsView && m.inspect == nil && m.found.cancel == nil {
		return tea.Batch(m.poll(), m.fetch())
	}
	return m.poll()
}

// subject is the key of what an action is about.
func (m *model) subject() string {
	if m.inspect != nil {
		return m.inspect.key
	}
	return m.selected()
}
