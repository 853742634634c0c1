package top

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// inspectKind is what details are shown of.
type inspectKind int

const (
	inspectBackend inspectKind = iota // or of a pool
	inspectSession
	inspectCause
	inspectEvent
)

var inspectOf = [views]inspectKind{backendsView: inspectBackend, sessionsView: inspectSession, causesView: inspectCause, eventsView: inspectEvent}

// inspection is what details are shown of.
type inspection struct {
	kind    inspectKind
	key     string
	first   int // line that is shown
	session api.Session
	event   api.Event
	gone    bool // it doesn't exist any more
	asked   bool // a request for the session runs
}

// inspectSelected shows details of the selected row.
func (m *model) inspectSelected() {
	key := m.selected()
	if key == "" || m.inspect != nil {
		return
	}
	i := &inspection{kind: inspectOf[m.view], key: key}
	switch i.kind {
	case inspectSession:
		i.session = *m.session(key)
	case inspectEvent:
		i.event = *m.event(key)
	}
	m.inspect = i
}

// fetchOne asks for the session whose details are shown.
func (m *model) fetchOne(id string) tea.Cmd {
	m.inspect.asked = true
	parent, c := m.ctx, m.client
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(parent, patience)
		defer cancel()
		s, err := c.Session(ctx, id)
		return sessionMsg{id, s, err}
	}
}

func (m *model) gotSession(msg sessionMsg) {
	i := m.inspect
	if i == nil || i.kind != inspectSession || i.session.ID != msg.id {
		return
	}
	i.asked = false
	switch {
	case msg.err == nil:
		i.session = msg.session
	case isGone(msg.err):
		i.gone = true
	}
}

// detail is a line of details: what it is about, and a text.
type detail struct {
	label, text string
	style       screen.Style
}

// details lists what is shown of a thing.
func (m *model) details() (title string, list []detail) {
	i := m.inspect
	switch i.kind {
	case inspectSession:
		return m.sessionDetails(&i.session, i.gone)
	case inspectCause:
		return m.causeDetails(i.key)
	case inspectEvent:
		return m.eventDetails(&i.event)
	}
	p, b := m.backend(i.key)
	switch {
	case p == nil:
		return "It doesn't exist any more.", nil
	case b == nil:
		return m.poolDetails(p)
	}
	return m.backendDetails(p, b)
}

func (m *model) poolDetails(p *api.Pool) (string, []detail) {
	list := []detail{{"balance", p.Balance, nil}, {"sessions", limited(p.Sessions, p.MaxSessions), nil}}
	for _, d := range p.Discovery {
		text, style := "works", m.theme.Good
		if d.LastError != "" {
			text, style = d.LastError, m.theme.Bad
		}
		if d.Since != nil {
			text += ", last success " + m.ago(*d.Since)
		}
		list = append(list, detail{"discovery", d.Source + ": " + text, style})
	}
	if w := poolWhy(p); w != "" {
		list = append(list, detail{"note", w, m.theme.Warn})
	}
	if p.LearnedKeys > 0 {
		list = append(list, detail{"learned keys", fmt.Sprint(p.LearnedKeys), nil})
	}
	return "Pool " + p.Name, append(list, m.countDetails(&p.Counts)...)
}

func (m *model) backendDetails(p *api.Pool, b *api.Backend) (string, []detail) {
	since := ""
	if b.Since != nil {
		since = " for " + screen.Duration(m.now().Sub(*b.Since))
	}
	list := []detail{
		{"address", b.Address, nil},
		{"state", b.State + since, m.stateStyle(b.State)},
	}
	if b.Reason != "" {
		list = append(list, detail{"why", b.Reason, m.theme.Strong})
	}
	if d := b.Drain; d != nil {
		done := 1.0
		if most := m.drains[backendKey(p.Name, b.Name)].most; most > 0 {
			done = 1 - float64(b.Sessions)/float64(most)
		}
		list = append(list, detail{"drain", m.charset.Bar(done, 30) + " " + m.drainLeft(b) + ", begun " + m.ago(d.Since), m.theme.Accent})
	}
	if c := b.LastCheck; c != nil {
		text, style := "succeeded", m.theme.Good
		if !c.OK {
			text, style = "failed: "+c.Reason, m.theme.Bad
		}
		list = append(list, detail{"last check", fmt.Sprintf("%s (%s, took %s)", text, m.ago(c.At), screen.Seconds(c.Duration)), style})
	}
	list = append(list,
		detail{"axes", fmt.Sprintf("operational %s, admin %s%s", b.Operational, b.Admin, prefixed(", listed ", b.Listed)), nil},
		detail{"weight", fmt.Sprintf("%d, of which %.0f%% counts now", b.Weight, 100*b.Share), nil},
		detail{"sessions", limited(b.Sessions, b.MaxSessions) + ", " + count(b.Requests, "HTTP request"), nil},
		detail{"source", b.Source + prefixed("; changed at run time: ", strings.Join(b.Changed, ", ")), nil})
	if c := b.Certificate; c != nil {
		list = append(list, detail{"certificate", fmt.Sprintf("%s, %.1f days left", strings.Join(c.Names, " "), c.DaysLeft), nil})
	}
	return "Backend " + p.Name + "/" + b.Name, append(list, m.countDetails(&b.Counts)...)
}

// countDetails are those that pools and backends have in common.
func (m *model) countDetails(c *api.Counts) []detail {
	list := []detail{
		{"opened", fmt.Sprintf("%d, %s/s; ended %s/s", c.Opened, screen.Rate(c.Rates.Opened), screen.Rate(c.Rates.Closed)), nil},
		{"failed", count64(c.Failed, "handshake"), nil},
	}
	if h := c.Handshake; h != nil {
		list = append(list, detail{"handshakes", fmt.Sprintf("p50 %s, p99 %s, of %d in %s", screen.Seconds(h.P50), screen.Seconds(h.P99), h.Count, screen.Duration(seconds(h.Over))), nil})
	}
	list = append(list, detail{"traffic", fmt.Sprintf("%s messages/s, %s/s", screen.Rate(c.Rates.Messages), screen.Bytes(uint64(max(c.Rates.Bytes, 0)))), nil},
		detail{"from clients", traffic(c.FromClient), nil}, detail{"from backends", traffic(c.FromBackend), nil})
	for _, cause := range slices.SortedFunc(maps.Keys(c.Closes), func(a, b string) int { return compare(float64(c.Closes[b]), float64(c.Closes[a])) }) {
		list = append(list, detail{"ended", fmt.Sprintf("%d %s", c.Closes[cause], cause), nil})
	}
	return list
}

func (m *model) sessionDetails(s *api.Session, gone bool) (string, []detail) {
	list := []detail{
		{"client", s.Client, nil}, {"backend", s.Pool + "/" + s.Backend, nil}, {"route", s.Route, nil},
		{"opened", s.Opened.Local().Format(time.DateTime) + ", " + screen.Duration(seconds(s.Age)) + " ago", nil},
		{"idle", screen.Duration(seconds(s.Idle)), nil},
		{"from client", traffic(s.FromClient), nil}, {"from backend", traffic(s.FromBackend), nil},
	}
	for _, name := range slices.Sorted(maps.Keys(s.Claims)) {
		list = append(list, detail{"claim", name + "=" + s.Claims[name], nil})
	}
	if gone {
		list = append([]detail{{"", "It has ended.", m.theme.Bad}}, list...)
	}
	return "Session " + s.ID, list
}

func (m *model) causeDetails(cause string) (string, []detail) {
	list := []detail{{"", meanings[cause], nil}}
	for _, c := range m.causeBy(cause) {
		list = append(list, detail{screen.Count(c.n), c.name, nil})
	}
	return "Cause " + cause, list
}

func (m *model) eventDetails(e *api.Event) (string, []detail) {
	list := []detail{{"time", e.Time.Local().Format(time.DateTime) + ", " + m.ago(e.Time), nil}, {"level", e.Level, m.levelStyle(e.Level)},
		{"kind", e.Kind, nil}, {"about", eventWhere(e), nil}, {"event", e.Message, m.theme.Strong}}
	for _, name := range slices.Sorted(maps.Keys(e.Detail)) {
		list = append(list, detail{name, fmt.Sprint(e.Detail[name]), nil})
	}
	return "Event " + fmt.Sprint(e.ID), list
}
