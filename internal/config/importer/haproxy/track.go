package haproxy

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// readTrack reads track-sc0 src [table NAME].
func (m *imp) readTrack(p *proxy, l *syntax.Line, words []string) {
	if len(words) < 2 {
		m.fail(l, "%s wants what to track, such as src", hint.Quote(words[0]))
		return
	}
	number := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(words[0], "track-sc"), "("), ")")
	if words[1] != "src" {
		m.differ(l, "", "limits are by address, so that this counter isn't kept")
		return
	}
	table := ""
	if i := slices.Index(words, "table"); i > 0 && i+1 < len(words) {
		table = words[i+1]
		if m.backends[table] == nil && m.frontends[table] == nil {
			m.fail(l, "there is no stick-table %s", hint.Quote(table))
			return
		}
	}
	p.tracks[number+" "+table] = true
	m.carry(l, "")
}

// tracked returns the table in which a counter follows the clients' addresses.
func (m *imp) tracked(p *proxy, counter string) (table string, ok bool) {
	for _, p := range append([]*proxy{p}, m.order...) { // the frontend may track what the backend looks at
		for key := range p.tracks {
			if number, table, _ := strings.Cut(key, " "); number == counter {
				return cmp.Or(table, p.name), true
			}
		}
	}
	return "", false
}

// tableLine is the stick-table of a proxy by its name.
func (m *imp) tableLine(name string) *syntax.Line {
	for _, p := range []*proxy{m.frontends[name], m.backends[name]} {
		if p != nil && p.one["stick-table"] != nil {
			return p.one["stick-table"]
		}
	}
	return nil
}

func (m *imp) usesTable(name string) {
	if l := m.tableLine(name); l != nil {
		m.carry(l, "")
	}
}

// period is the time over which a table counts, in seconds; 0 if it doesn't.
func (m *imp) period(table, what string) float64 {
	l := m.tableLine(table)
	if l == nil {
		return 0
	}
	for _, word := range strings.Split(strings.Join(l.Args(1), ","), ",") {
		if name, rest, ok := strings.Cut(word, "("); ok && name == what {
			d, err := parseTime(strings.TrimSuffix(rest, ")"), time.Millisecond)
			if err != nil || d <= 0 {
				return 0
			}
			m.carry(l, "")
			return d.Seconds()
		}
	}
	return 0
}
