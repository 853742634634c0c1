package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

var backendColumns = []screen.Column{
	{Title: "BACKEND", Width: 14, Grow: 2},
	{Title: "STATE", Width: 10},
	{Title: "WEIGHT", Width: 6, Right: true, Drop: 2},
	{Title: "SESS", Width: 5, Right: true},
	{Title: "NEW/S", Width: 5, Right: true, Drop: 3},
	{Title: "MSG/S", Width: 5, Right: true, Drop: 4},
	{Title: "P99", Width: 6, Right: true, Drop: 5},
	{Title: "FAIL", Width: 5, Right: true, Drop: 6},
	{Title: "WHY", Width: 12, Grow: 4, Drop: 1},
}

// backendKey identifies a backend, poolKey a pool, among all rows.
func backendKey(pool, backend string) string { return pool + "\x00" + backend }
func poolKey(pool string) string             { return pool }

// backendRows lists the backends below their pools, or, sorted by a column, the backends
// only.
func (m *model) backendRows() (rows []row) {
	if m.status == nil {
		return nil
	}
	l := &m.lists[backendsView]
	filter := strings.ToLower(strings.TrimSpace(l.filter.Text()))
	for i := range m.status.Pools {
		p := &m.status.Pools[i]
		var of []row
		for j := range p.Backends {
			if b := &p.Backends[j]; matches(filter, p.Name, b.Name, b.Address, b.State, b.Reason) {
				of = append(of, m.backendRow(p, b))
			}
		}
		if l.sort == natural && (len(of) > 0 || matches(filter, p.Name)) {
			rows = append(rows, m.poolRow(p))
		}
		rows = append(rows, of...)
	}
	return rows
}

// matches reports whether a text is part of one of the words, whatever the case.
func matches(text string, words ...string) bool {
	return text == "" || slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(w), text) })
}

func (m *model) poolRow(p *api.Pool) row {
	cells := []cell{text(p.Name), text(""), text(""), number(float64(p.Sessions), screen.Count(p.Sessions))}
	cells = append(append(cells, rates(&p.Counts)...), text(poolWhy(p)))
	cells[0].Style, cells[len(cells)-1].Style = m.theme.Strong, m.theme.Warn
	return row{key: poolKey(p.Name), cells: cells}
}

// poolWhy says what is unusual about a pool.
func poolWhy(p *api.Pool) string {
	var words []string
	if p.Queued > 0 {
		words = append(words, count(p.Queued, "queued handshake"))
	}
	if r := p.Rebalance; r != nil && r.Active {
		words = append(words, fmt.Sprintf("being rebalanced: %d given away, %d above fair shares", r.Given, r.Excess))
	}
	for _, d := range p.Discovery {
		if d.LastError != "" {
			words = append(words, d.Source+": "+d.LastError)
		}
	}
	if !slices.ContainsFunc(p.Backends, func(b api.Backend) bool { return takes(&b) }) {
		words = append(words, "no backend takes new sessions")
	}
	return strings.Join(words, "; ")
}

// takes reports whether a backend may get new sessions.
func takes(b *api.Backend) bool { return b.State == "up" || b.State == "warming" }

func (m *model) backendRow(p *api.Pool, b *api.Backend) row {
	name := p.Name + "/" + b.Name
	if m.lists[backendsView].sort == natural {
		name = "  " + b.Name
	}
	if b.Backup {
		name += " (backup)"
	}
	weight := strconv.Itoa(b.Weight)
	if b.Share < 1 {
		weight = fmt.Sprintf("%d %.0f%%", b.Weight, 100*b.Share)
	}
	sessions := number(float64(b.Sessions), screen.Count(b.Sessions))
	if b.MaxSessions > 0 && b.Sessions >= b.MaxSessions {
		sessions.Style = m.theme.Warn
	}
	cells := []cell{text(name), text(b.State), number(float64(b.Weight)*b.Share, weight), sessions}
	cells = append(append(cells, rates(&b.Counts)...), text(m.why(p.Name, b)))
	cells[1].Style = m.stateStyle(b.State)
	return row{key: backendKey(p.Name, b.Name), cells: cells}
}

// rates are the cells that pools and backends have in common.
func rates(c *api.Counts) []cell {
	p99 := number(-1, "-")
	if h := c.Handshake; h != nil && h.Count > 0 {
		p99 = number(h.P99, screen.Seconds(h.P99))
	}
	return []cell{number(c.Rates.Opened, screen.Rate(c.Rates.Opened)), number(c.Rates.Messages, screen.Rate(c.Rates.Messages)),
		p99, number(float64(c.Failed), screen.Count(c.Failed))}
}

func (m *model) stateStyle(state string) screen.Style {
	switch state {
	case "up":
		return m.theme.Good
	case "down", "ejected", "unresolved":
		return m.theme.Bad
	}
	return m.theme.Warn
}

// why says why a backend is in its state, and how far its drain is.
func (m *model) why(pool string, b *api.Backend) string {
	if b.Drain == nil {
		return b.Reason
	}
	left := m.drainLeft(b)
	if d := m.drains[backendKey(pool, b.Name)]; b.Sessions > 0 && d.most > 0 {
		left = m.charset.Bar(1-float64(b.Sessions)/float64(d.most), 8) + " " + left
	}
	if b.Reason != "" {
		left += "; " + b.Reason
	}
	return left
}

// drainLeft says what is left of a drain.
func (m *model) drainLeft(b *api.Backend) string {
	left := b.Drain.Deadline.Sub(m.now()).Truncate(time.Second)
	switch {
	case b.Sessions == 0 && b.Requests > 0:
		return count(b.Requests, "HTTP request") + " left"
	case b.Sessions == 0:
		return "empty"
	case left > 0:
		return fmt.Sprintf("%d left, %s", b.Sessions, screen.Duration(left))
	}
	return fmt.Sprintf("%d left, time is up", b.Sessions)
}

// backend returns a pool and a backend by the key of a row. b is nil for the key of a pool;
// both are nil if they are gone.
func (m *model) backend(key string) (p *api.Pool, b *api.Backend) {
	pool, backend, isBackend := strings.Cut(key, "\x00")
	if m.status == nil {
		return nil, nil
	}
	for i := range m.status.Pools {
		if p = &m.status.Pools[i]; p.Name != pool {
			continue
		}
		for j := range p.Backends {
			if isBackend && p.Backends[j].Name == backend {
				return p, &p.Backends[j]
			}
		}
		if !isBackend {
			return p, nil
		}
	}
	return nil, nil
}
