package top

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // the screens show local times
	goleak.VerifyTestMain(m)
}

// start is when the tests begin.
var start = time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)

// fake is a balancer with a given state. It records what it is told to do.
type fake struct {
	mu       sync.Mutex // guards the following
	status   api.Status
	sessions []api.Session
	events   []api.Event
	err      error // of all requests
	pageMax  int   // of sessions examined for a page; 0 for no limit
	queries  []api.SessionQuery
	told     []string
	closed   []api.CloseRequest
	warnings []string
}

func (f *fake) Address() string { return "/run/holdfast/admin.sock" }

func (f *fake) Status(context.Context) (api.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, f.err
}

func (f *fake) Sessions(_ context.Context, q api.SessionQuery) (p api.SessionPage, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, q)
	if f.err != nil {
		return p, f.err
	}
	from := 0
	fmt.Sscan(q.After, &from)
	for i := from; i < len(f.sessions); i++ {
		if len(p.Sessions) == q.Limit || f.pageMax > 0 && i-from >= f.pageMax {
			p.Next = fmt.Sprint(i)
			break
		}
		s := f.sessions[i]
		if q.Pool != "" && s.Pool != q.Pool || q.Backend != "" && s.Backend != q.Backend {
			continue
		}
		if matches(strings.ToLower(q.Search), s.ID, s.Client, s.Route, s.Pool, s.Backend, claims(&s)) {
			p.Sessions = append(p.Sessions, s)
		}
	}
	return p, nil
}

func (f *fake) Session(_ context.Context, id string) (api.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		if s.ID == id {
			return s, f.err
		}
	}
	return api.Session{}, &api.Problem{Status: http.StatusNotFound, Detail: "there is no session " + id}
}

func (f *fake) CloseSessions(_ context.Context, r api.CloseRequest) (res api.CloseResult, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, r)
	for i, s := range f.sessions {
		if s.ID == r.ID {
			f.sessions = append(f.sessions[:i:i], f.sessions[i+1:]...)
			res.Sessions++
			break
		}
	}
	return res, f.err
}

func (f *fake) change(what, pool, backend, timeout string) (api.BackendResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, strings.TrimSpace(what+" "+pool+"/"+backend+" "+timeout))
	return api.BackendResult{Warnings: f.warnings}, f.err
}

func (f *fake) Drain(_ context.Context, pool, backend, timeout string) (api.BackendResult, error) {
	return f.change("drain", pool, backend, timeout)
}

func (f *fake) Maint(_ context.Context, pool, backend, timeout string) (api.BackendResult, error) {
	return f.change("maint", pool, backend, timeout)
}

func (f *fake) Ready(_ context.Context, pool, backend string) (api.BackendResult, error) {
	return f.change("ready", pool, backend, "")
}

func (f *fake) Events(_ context.Context, _ client.Watch, each func(api.Event) error) error {
	for _, e := range f.events {
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}

func at(d time.Duration) *time.Time { t := start.Add(d); return &t }

// example is a balancer with two pools in different states.
func example() *fake {
	counts := func(opened, failed uint64, rate, messages, p99 float64, closes map[string]uint64) api.Counts {
		c := api.Counts{Opened: opened, Failed: failed, Closes: closes,
			FromClient: api.Traffic{Messages: 51_200, Bytes: 4_100_000}, FromBackend: api.Traffic{Messages: 60_100, Bytes: 9_900_000},
			Rates: api.Rates{Over: 5, Opened: rate, Closed: rate / 2, Messages: messages, Bytes: 80 * messages}}
		if p99 > 0 {
			c.Handshake = &api.Latency{Over: 60, Count: 340, P50: p99 / 4, P99: p99}
		}
		return c
	}
	backends := []api.Backend{
		{Name: "ws1", Address: "10.0.0.1:3001", State: "up", Operational: "up", Admin: "ready", Since: at(-3 * time.Hour), Weight: 1, Share: 1, Sessions: 612, Source: "file",
			LastCheck: &api.Check{At: start.Add(-4 * time.Second), OK: true, Duration: 0.0012},
			Counts:    counts(5210, 3, 4.2, 1210, 0.0123, map[string]uint64{"client_closed": 4100, "client_lost": 400})},
		{Name: "ws2", Address: "10.0.0.2:3001", State: "warming", Operational: "up", Admin: "ready", Since: at(-40 * time.Second), Weight: 2, Share: 0.4, Sessions: 88, MaxSessions: 1000, Source: "runtime", Changed: []string{"added", "weight"},
			Counts: counts(90, 0, 3.1, 210, 0.4, map[string]uint64{"client_closed": 2})},
		{Name: "ws3", Address: "10.0.0.3:3001", State: "drain", Reason: "asked for", Operational: "up", Admin: "drain", Since: at(-time.Minute), Weight: 1, Share: 1, Sessions: 120, Source: "file",
			Drain:  &api.Drain{Since: start.Add(-time.Minute), Deadline: start.Add(4 * time.Minute)},
			Counts: counts(4000, 0, 0, 340, 0, map[string]uint64{"client_closed": 3000, "backend_drained": 14})},
		{Name: "ws4", Address: "10.0.0.4:3001", State: "down", Operational: "down", Admin: "ready", Since: at(-12 * time.Minute), Weight: 1, Share: 1, Source: "file",
			Reason:    "3 checks failed: connect to 10.0.0.4:3001: connection refused",
			LastCheck: &api.Check{At: start.Add(-2 * time.Second), Reason: "connect to 10.0.0.4:3001: connection refused", Duration: 0.0004},
			Counts:    counts(2100, 57, 0, 0, 0, map[string]uint64{"backend_lost": 611})},
	}
	f := &fake{status: api.Status{
		Version: "v1.0.0", Started: start.Add(-3*time.Hour - 12*time.Minute), Generation: 3, ConfigFile: "/etc/holdfast/holdfast.yaml", Engine: "epoll",
		Totals: api.Totals{Active: 820, Opened: 11_400}, Rates: api.Rates{Over: 5, Opened: 7.3, Closed: 3.6, Messages: 1760},
		Pools: []api.Pool{
			{Name: "chat", Balance: "least_sessions", Sessions: 820, Queued: 12, Backends: backends,
				Counts: counts(11_400, 60, 7.3, 1760, 0.25, map[string]uint64{"client_closed": 7102, "client_lost": 400, "backend_drained": 14, "backend_lost": 611})},
			{Name: "feed", Balance: "hash", Backends: []api.Backend{{Name: "only", Address: "10.0.1.1:3001", State: "unready", Operational: "up", Admin: "ready", Listed: "unready", Weight: 1, Share: 1, Source: "dns"}},
				Discovery: []api.Discovery{{Source: "dns feed.internal", Since: at(-time.Hour), LastError: "no answer from 10.0.0.53"}}},
		},
	}}
	for i := range 1200 {
		s := api.Session{ID: fmt.Sprintf("S%019d", i), Client: fmt.Sprintf("192.0.2.%d:%d", i%250, 40_000+i), Route: "/ws", Pool: "chat", Backend: fmt.Sprintf("ws%d", i%3+1),
			Opened: start.Add(-time.Duration(i) * time.Second), Age: float64(i), Idle: float64(i % 60),
			FromClient: api.Traffic{Messages: uint64(i * 3), Bytes: uint64(i * 200)}, FromBackend: api.Traffic{Messages: uint64(i), Bytes: uint64(i * 1000)},
			Claims: map[string]string{"sub": fmt.Sprintf("user-%04d", i)}}
		f.sessions = append(f.sessions, s)
	}
	f.events = []api.Event{
		{ID: 1, Time: start.Add(-3 * time.Hour), Kind: api.EventReload, Level: "info", Message: "configuration 3 is in use"},
		{ID: 2, Time: start.Add(-12 * time.Minute), Kind: api.EventBackend, Level: "error", Pool: "chat", Backend: "ws4", Message: "down: 3 checks failed: connect to 10.0.0.4:3001: connection refused", Detail: map[string]any{"state": "down", "was": "up"}},
		{ID: 3, Time: start.Add(-time.Minute), Kind: api.EventDrain, Level: "info", Pool: "chat", Backend: "ws3", Message: "drain begins: 412 sessions, until 03:04:00"},
	}
	return f
}

// driver operates a model as bubbletea's loop would, one message after the other, and
// without waiting: what is due later is in later.
type driver struct {
	*model
	t     testing.TB
	clock time.Time
	later []tea.Msg
	quit  bool
}

func drive(t testing.TB, f *fake, width, height int) *driver {
	d := &driver{model: newModel(t.Context(), f, time.Second), t: t, clock: start}
	d.now = func() time.Time { return d.clock }
	d.after = func(_ time.Duration, msg tea.Msg) tea.Cmd { d.later = append(d.later, msg); return nil }
	d.send = func(msg tea.Msg) { d.run(d.update(msg)) }
	d.run(d.update(tea.WindowSizeMsg{Width: width, Height: height}))
	d.run(d.Init())
	d.run(d.poll())
	return d
}

// run runs a command and what follows from it.
func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case tea.BatchMsg:
		for _, c := range msg {
			d.run(c)
		}
	case tea.QuitMsg:
		d.quit = true
	default:
		d.run(d.update(msg))
	}
}

// pass lets time pass, with what is due in it.
func (d *driver) pass(t time.Duration) {
	d.clock = d.clock.Add(t)
	due := d.later
	d.later = nil
	for _, msg := range due {
		d.run(d.update(msg))
	}
}

// press presses keys, and types texts that begin with ":". Time passes after a text.
func (d *driver) press(keys ...string) *driver {
	for _, k := range keys {
		if text, ok := strings.CutPrefix(k, ":"); ok {
			for _, r := range text {
				d.run(d.update(tea.KeyPressMsg{Code: r, Text: string(r)}))
			}
			d.pass(100 * time.Millisecond)
			continue
		}
		d.run(d.update(keyOf(k)))
	}
	return d
}

// keyOf is a key by bubbletea's name for it.
func keyOf(name string) tea.KeyPressMsg {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown,
		"left": tea.KeyLeft, "right": tea.KeyRight, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd,
		"backspace": tea.KeyBackspace, "delete": tea.KeyDelete}
	k := tea.KeyPressMsg{}
	if rest, ok := strings.CutPrefix(name, "ctrl+"); ok {
		name, k.Mod = rest, tea.ModCtrl
	}
	if rest, ok := strings.CutPrefix(name, "shift+"); ok {
		name, k.Mod = rest, tea.ModShift
	}
	switch code, ok := special[name]; {
	case ok:
		k.Code = code
	case name == "space":
		k.Code, k.Text = ' ', " "
	default:
		k.Code = []rune(name)[0]
		if k.Mod == 0 {
			k.Text = name
		}
	}
	return k
}

func TestKeyNames(t *testing.T) {
	for i := range bindings {
		for _, name := range bindings[i].keys {
			if name == "shift+s" || name == "shift+g" { // as terminals with the Kitty protocol may say it
				continue
			}
			if got := keyOf(name).String(); got != name {
				t.Errorf("the key %q of a test is %q for bubbletea", name, got)
			}
		}
	}
}
