package top

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// meanings says what the causes mean, in a line. docs/monitoring.md has more.
var meanings = map[string]string{
	"client_closed":          "The client sent the first Close frame.",
	"backend_closed":         "The backend sent the first Close frame.",
	"client_lost":            "The client's connection ended without a Close frame.",
	"backend_lost":           "The backend's connection ended without a Close frame.",
	"client_silent":          "The client sent nothing for keepalive.interval and keepalive.timeout, not even a pong.",
	"backend_silent":         "The backend sent nothing for keepalive.interval and keepalive.timeout, not even a pong.",
	"client_protocol_error":  "The client broke RFC 6455.",
	"backend_protocol_error": "The backend broke RFC 6455.",
	"idle_timeout":           "Nothing happened for timeouts.idle.",
	"max_lifetime":           "The session reached timeouts.max_lifetime.",
	"token_expired":          "The token with which the client opened the session has expired.",
	"admin_closed":           "An operator closed it.",
	"backend_removed":        "The backend was removed, and time was up.",
	"backend_drained":        "The backend was drained, and time was up.",
	"backend_down":           "A check found the backend down, and its pool has health.on_down: close.",
	"rebalanced":             "The backend had more than its fair share, and the client was told to reconnect.",
	"reattach_failed":        "A move failed after the old backend had closed the session or been told to.",
	"message_too_big":        "The client began a message larger than limits.max_message.",
	"rate_limited":           "The client sent more than limits.messages_per_second or bytes_per_second.",
	"slow_consumer":          "A side left untaken for limits.slow_consumer_timeout what was kept for it.",
	"shutdown":               "The balancer was stopped.",
}

var causeColumns = []screen.Column{
	{Title: "CAUSE", Width: 22},
	{Title: "ENDED", Width: 6, Right: true},
	{Title: "PART", Width: 5, Right: true, Drop: 3},
	{Title: "/S", Width: 5, Right: true},
	{Title: "TREND", Width: 16, Grow: 1, Drop: 2},
	{Title: "MOST OF THEM", Width: 18, Grow: 2, Drop: 1},
}

func (m *model) causeRows() (rows []row) {
	n := len(m.history.samples)
	if n == 0 {
		return nil
	}
	closes := m.history.samples[n-1].closes
	all := uint64(0)
	for _, n := range closes {
		all += n
	}
	causes := slices.Collect(maps.Keys(closes))
	slices.SortFunc(causes, func(a, b string) int {
		if closes[a] != closes[b] {
			return compare(float64(closes[b]), float64(closes[a]))
		}
		return strings.Compare(a, b)
	})
	filter := strings.ToLower(strings.TrimSpace(m.lists[causesView].filter.Text()))
	trend := screen.Layout(causeColumns, m.width)[4]
	for _, c := range causes {
		if closes[c] == 0 || !matches(filter, c) {
			continue
		}
		part, rate, where := float64(closes[c])/float64(all), m.history.rate(c), m.causeBy(c)
		most := ""
		if len(where) > 0 {
			most = fmt.Sprintf("%s %.0f%%", where[0].name, 100*float64(where[0].n)/float64(closes[c]))
		}
		rows = append(rows, row{key: c, cells: []cell{text(c), number(float64(closes[c]), screen.Count(closes[c])),
			number(part, fmt.Sprintf("%.0f%%", 100*part)), number(rate, screen.Rate(rate)),
			{Cell: screen.Cell{Text: m.charset.Spark(m.history.ends(c), trend)}, by: rate}, text(most)}})
	}
	return rows
}

// counted is how many sessions of a backend ended by a cause.
type counted struct {
	name string
	n    uint64
}

// causeBy lists the backends whose sessions ended by a cause, those with the most first.
func (m *model) causeBy(cause string) (by []counted) {
	for i := range m.status.Pools {
		p := &m.status.Pools[i]
		for j := range p.Backends {
			if n := p.Backends[j].Closes[cause]; n > 0 {
				by = append(by, counted{p.Name + "/" + p.Backends[j].Name, n})
			}
		}
	}
	slices.SortStableFunc(by, func(a, b counted) int { return compare(float64(b.n), float64(a.n)) })
	return by
}
