package top

import (
	"slices"

	tea "charm.land/bubbletea/v2"
)

// scope is where a key means something.
type scope int

const (
	everywhere   scope = iota // except while text is typed
	inBackends                // the view, and the details of a backend
	inSessions                // the view, and the details of a session
	whileTyping               // a filter
	whileAnswer               // a question
	whileInspect              // details
	whileHelp                 // the help
	scopes
)

var scopeNames = [scopes]string{"everywhere", "backends", "sessions", "typing a filter", "a question", "details", "help"}

// binding is a key and what it does. All keys are in bindings: the help and docs/top.md
// are made of it.
type binding struct {
	scope scope
	keys  []string // as bubbletea calls them
	shown string   // for people
	does  string
	do    func(*model) tea.Cmd
}

// quietly is for what needs no command.
func quietly(f func(*model)) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd { f(m); return nil }
}

func moveBy(lines func(*model) int) func(*model) tea.Cmd {
	return quietly(func(m *model) {
		if n := lines(m); m.inspect != nil {
			m.inspect.first = max(m.inspect.first+n, 0)
		} else {
			m.move(n)
		}
	})
}

func show(v view) func(*model) tea.Cmd { return func(m *model) tea.Cmd { return m.show(v) } }

const far = 1 << 20 // rows

// bindings is filled by init, because the help, which some of them show, is made of it.
var bindings []binding

func init() {
	bindings = []binding{
		{everywhere, []string{"1"}, "1", "backends", show(backendsView)},
		{everywhere, []string{"2"}, "2", "sessions", show(sessionsView)},
		{everywhere, []string{"3"}, "3", "causes of ends", show(causesView)},
		{everywhere, []string{"4"}, "4", "events", show(eventsView)},
		{everywhere, []string{"tab"}, "Tab", "next view", func(m *model) tea.Cmd { return m.show((m.view + 1) % views) }},
		{everywhere, []string{"shift+tab"}, "Shift+Tab", "view before", func(m *model) tea.Cmd { return m.show((m.view + views - 1) % views) }},
		{everywhere, []string{"f"}, "f", "find a session", (*model).find},
		{everywhere, []string{"/"}, "/", "filter this view", (*model).filter},
		{everywhere, []string{"s"}, "s", "sort by the next column", quietly(func(m *model) { m.sortBy(1) })},
		{everywhere, []string{"S", "shift+s"}, "S", "sort by the one before", quietly(func(m *model) { m.sortBy(-1) })},
		{everywhere, []string{"r"}, "r", "reverse the order", quietly(func(m *model) { m.list().reverse = !m.list().reverse })},
		{everywhere, []string{"up", "k"}, "Up, k", "up", moveBy(func(*model) int { return -1 })},
		{everywhere, []string{"down", "j"}, "Down, j", "down", moveBy(func(*model) int { return 1 })},
		{everywhere, []string{"pgup", "ctrl+b"}, "PgUp", "a screen up", moveBy(func(m *model) int { return -m.bodyHeight() })},
		{everywhere, []string{"pgdown", "ctrl+f"}, "PgDn", "a screen down", moveBy(func(m *model) int { return m.bodyHeight() })},
		{everywhere, []string{"home", "g"}, "Home, g", "to the first", moveBy(func(*model) int { return -far })},
		{everywhere, []string{"end", "G", "shift+g"}, "End, G", "to the last", moveBy(func(*model) int { return far })},
		{everywhere, []string{"enter"}, "Enter", "details", quietly((*model).inspectSelected)},
		{everywhere, []string{"esc"}, "Esc", "back; clear the filter", (*model).back},
		{everywhere, []string{"space"}, "Space", "stop and go on", (*model).pause},
		{everywhere, []string{"?"}, "?", "this help", quietly(func(m *model) { m.help = true })},
		{everywhere, []string{"ctrl+z"}, "Ctrl+Z", "suspend", (*model).suspend},
		{everywhere, []string{"q", "ctrl+c"}, "q, Ctrl+C", "quit", func(*model) tea.Cmd { return tea.Quit }},

		{inBackends, []string{"d"}, "d", "drain", func(m *model) tea.Cmd { return m.askChange(drain) }},
		{inBackends, []string{"m"}, "m", "maintenance", func(m *model) tea.Cmd { return m.askChange(maint) }},
		{inBackends, []string{"u"}, "u", "undrain: ready again", func(m *model) tea.Cmd { return m.askChange(ready) }},
		{inBackends, []string{"l"}, "l", "list its sessions", (*model).listSessions},

		{inSessions, []string{"x"}, "x", "close", (*model).closeSelected},
		{inSessions, []string{"n"}, "n", "next page", func(m *model) tea.Cmd { return m.turn(1) }},
		{inSessions, []string{"p"}, "p", "page before", func(m *model) tea.Cmd { return m.turn(-1) }},

		{whileTyping, []string{"ctrl+x"}, "Ctrl+X", "close what is selected", (*model).closeFound},
		{whileTyping, []string{"enter"}, "Enter", "to the list", quietly((*model).typedFilter)},
		{whileTyping, []string{"esc"}, "Esc", "clear the filter", (*model).back},
		{whileTyping, []string{"up"}, "Up", "up", moveBy(func(*model) int { return -1 })},
		{whileTyping, []string{"down"}, "Down", "down", moveBy(func(*model) int { return 1 })},
		{whileTyping, []string{"ctrl+c"}, "Ctrl+C", "quit", func(*model) tea.Cmd { return tea.Quit }},

		{whileAnswer, []string{"enter"}, "Enter", "do it", (*model).confirm},
		{whileAnswer, []string{"esc"}, "Esc", "don't", quietly(func(m *model) { m.prompt = nil })},
		{whileAnswer, []string{"ctrl+c"}, "Ctrl+C", "quit", func(*model) tea.Cmd { return tea.Quit }},

		{whileInspect, []string{"left", "backspace"}, "Left", "back", (*model).back},
		{whileHelp, []string{"q", "?", "enter", "space"}, "any key", "back", quietly(func(m *model) { m.help = false })},
	}
}

// scopesNow lists where the user is, the innermost first.
func (m *model) scopesNow() []scope {
	switch {
	case m.help:
		return []scope{whileHelp}
	case m.prompt != nil:
		return []scope{whileAnswer}
	case m.typing:
		return []scope{whileTyping}
	}
	var s []scope
	kind := inspectOf[m.view]
	if m.inspect != nil {
		s, kind = append(s, whileInspect), m.inspect.kind
	}
	switch kind {
	case inspectBackend:
		s = append(s, inBackends)
	case inspectSession:
		s = append(s, inSessions)
	}
	return append(s, everywhere)
}

// key does what a key means where the user is.
func (m *model) key(msg tea.KeyPressMsg) tea.Cmd {
	name := msg.String()
	for _, s := range m.scopesNow() {
		for i := range bindings {
			if b := &bindings[i]; b.scope == s && slices.Contains(b.keys, name) {
				return b.do(m)
			}
		}
	}
	switch {
	case m.help: // any other key too, and it does nothing else
		m.help = false
		if name == "ctrl+c" {
			return tea.Quit
		}
		return nil
	case msg.Text != "":
		return m.typed(msg.Text)
	case m.prompt != nil:
		m.prompt.line.Key(name)
	case m.typing:
		if before := m.list().filter.Text(); m.list().filter.Key(name) && m.list().filter.Text() != before {
			return m.filterChanged()
		}
	}
	return nil
}

// typed puts a text where it is being typed; elsewhere it means nothing, so that what is
// pasted by mistake drains no backend.
func (m *model) typed(text string) tea.Cmd {
	switch {
	case m.help:
	case m.prompt != nil:
		m.prompt.line.Insert(text)
	case m.typing:
		m.list().filter.Insert(text)
		return m.filterChanged()
	}
	return nil
}

// hints lists the keys that matter most where the user is. They fit into 80 columns.
func (m *model) hints() string {
	text := ""
	switch now := m.scopesNow(); {
	case m.help:
		return "any key: back"
	case m.prompt != nil:
		return "Enter: do it   Esc: don't"
	case m.typing && m.view == sessionsView:
		return "Enter: to the list   Up, Down: select   Ctrl+X: close it   Esc: clear"
	case m.typing:
		return "Enter: to the list   Up, Down: select   Esc: clear"
	case slices.Contains(now, inBackends):
		text = "  d: drain  u: undrain  m: maint"
	case slices.Contains(now, inSessions):
		text = "  x: close"
	}
	if m.inspect != nil {
		return "Esc: back  ?: help  q: quit" + text
	}
	return "?: help  q: quit  f: find  /: filter  s: sort" + text
}
