package top

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// view is one of the lists.
type view int

const (
	backendsView view = iota
	sessionsView
	causesView
	eventsView
	views
)

var viewNames = [views]string{"Backends", "Sessions", "Causes", "Events"}

// list is what is kept of a view while another is shown.
type list struct {
	key     string // of the row that is selected, so that it stays so when rows move
	at      int    // its place
	first   int    // row that is shown
	sort    int    // number of a column, or natural
	reverse bool
	filter  screen.Line
}

// natural is the order in which the balancer lists things.
const natural = -1

// model is all that the view shows. Only bubbletea's loop uses it. What may wait is a
// tea.Cmd: it runs elsewhere, and its result comes back as a message.
type model struct {
	ctx      context.Context // until the end of the program
	client   Client
	interval time.Duration
	send     func(tea.Msg)
	now      func() time.Time
	after    func(time.Duration, tea.Msg) tea.Cmd

	width, height int
	charset       screen.Charset
	theme         screen.Theme

	status  *api.Status
	seen    time.Time // when it came
	asked   time.Time // when the request that runs now was sent; zero if there is none
	failed  error     // of the last request, nil if it succeeded
	lost    time.Time // since when they fail
	paused  bool
	history history
	drains  map[string]drained // by key of a backend
	events  eventLog
	found   sessions

	view    view
	lists   [views]list
	typing  bool // the keys go to the filter
	inspect *inspection
	prompt  *prompt
	help    bool
	notice  notice
}

// notice is a line about what was done.
type notice struct {
	text  string
	bad   bool
	until time.Time
}

// noticed is how long a notice stays.
const noticed = 10 * time.Second

func newModel(ctx context.Context, c Client, interval time.Duration) *model {
	m := &model{ctx: ctx, client: c, interval: interval, now: time.Now, width: 80, height: 24,
		theme: screen.NewTheme(true), drains: map[string]drained{}, send: func(tea.Msg) {}}
	m.after = func(d time.Duration, msg tea.Msg) tea.Cmd { return tea.Tick(d, func(time.Time) tea.Msg { return msg }) }
	for i := range m.lists {
		m.lists[i].sort = natural
	}
	m.found.pages = []string{""}
	return m
}

// Init begins to poll, and asks the terminal for its background.
func (m *model) Init() tea.Cmd {
	return tea.Batch(tea.RequestBackgroundColor, m.after(m.interval, tickMsg{}), m.watch())
}

// Update is tea.Model's.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) { return m, m.update(msg) }

func (m *model) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.BackgroundColorMsg:
		m.theme = screen.NewTheme(msg.IsDark())
	case tea.ResumeMsg:
		return m.poll()
	case tea.KeyPressMsg:
		return m.key(msg)
	case tea.PasteMsg:
		return m.typed(msg.Content)
	case tickMsg:
		return tea.Batch(m.after(m.interval, tickMsg{}), m.tick())
	case statusMsg:
		return m.gotStatus(msg)
	case searchMsg:
		if msg.number == m.found.number && m.found.due {
			return m.fetch()
		}
	case sessionsMsg:
		return m.gotSessions(msg)
	case sessionMsg:
		m.gotSession(msg)
	case eventMsg:
		m.gotEvent(msg)
	case eventsEndedMsg:
		// The client connects again by itself, unless its first attempt failed.
		if m.ctx.Err() == nil {
			m.events.failed = msg.err
			return m.after(5*time.Second, eventsAgainMsg{})
		}
	case eventsAgainMsg:
		return m.watch()
	case doneMsg:
		return m.done(msg)
	}
	return nil
}

// tick is called each interval.
func (m *model) tick() tea.Cmd {
	if m.paused {
		return nil
	}
	cmds := []tea.Cmd{m.poll()}
	if m.view == sessionsView && m.inspect == nil && m.found.cancel == nil && !m.found.due && !m.now().Before(m.found.again) {
		cmds = append(cmds, m.fetch())
	}
	if i := m.inspect; i != nil && i.kind == inspectSession && !i.asked {
		cmds = append(cmds, m.fetchOne(i.session.ID))
	}
	return tea.Batch(cmds...)
}

func (m *model) list() *list { return &m.lists[m.view] }

// say shows a notice.
func (m *model) say(text string, bad bool) {
	m.notice = notice{screen.Clean(text), bad, m.now().Add(noticed)}
}

// stale reports whether the balancer doesn't answer, so that what is shown may be old.
func (m *model) stale() bool { return m.failed != nil || m.late() > 0 }

// late is for how long an answer has been awaited, 0 while that isn't long.
func (m *model) late() time.Duration {
	if m.asked.IsZero() {
		return 0
	}
	if d := m.now().Sub(m.asked); d >= max(2*time.Second, 2*m.interval) {
		return d
	}
	return 0
}
