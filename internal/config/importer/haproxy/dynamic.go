package haproxy

import (
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// dynamic makes the routes of use_backend with a name that depends on the request: by a
// map, or the host itself within a name.
func (x *expander) dynamic(p *proxy, match config.Match, r *rule, s state) {
	const only = "a backend's name is a fixed one, comes from a map by host or path, as in %[req.hdr(host),lower,map(FILE)], or has the host in it"
	parts, err := parseFormat(r.pool)
	if err != nil {
		x.m.refuse(r.line, "%v", err)
		return
	}
	var e *sample
	before, after := "", ""
	for _, part := range parts {
		switch {
		case part.expr != nil && e == nil:
			e = part.expr
		case part.expr != nil:
			x.m.refuse(r.line, "%s", only)
			return
		case e == nil:
			before += part.text
		default:
			after += part.text
		}
	}
	if e == nil {
		x.m.refuse(r.line, "%s", only)
		return
	}
	if v, ok := p.vars[strings.ToLower(e.arg(0))]; ok && e.name == "var" && v.name != "var" {
		of := v
		of.conv = slices.Concat(v.conv, e.conv)
		e = &of
	}
	key := *e
	last := len(e.conv) - 1
	if last >= 0 && (e.conv[last].name == "map" || strings.HasPrefix(e.conv[last].name, "map_")) {
		key.conv = e.conv[:last]
		x.mapped(p, match, r, s, &key, e.conv[last], before, after)
		return
	}
	if !key.isHost() {
		x.m.refuse(r.line, "%s", only)
		return
	}
	for _, name := range x.m.backendNames() {
		host, ok := strings.CutPrefix(name, before)
		if host, ok2 := strings.CutSuffix(host, after); ok && ok2 && host != "" {
			x.toKey(p, match, r, s, &key, "", host, name)
		}
	}
	x.m.differ(r.line, "", "routes are made for the hosts that the names of the backends say")
}

// mapped makes the routes of a map.
func (x *expander) mapped(p *proxy, match config.Match, r *rule, s state, key *sample, conv call, before, after string) {
	method := strings.TrimPrefix(strings.TrimPrefix(conv.name, "map"), "_")
	if !slices.Contains([]string{"", "str", "beg", "end", "sub", "dir", "dom", "reg"}, method) {
		x.m.refuse(r.line, "maps by %s aren't known here", hint.Quote(conv.name))
		return
	}
	lines, err := x.m.readList(conv.arg(0))
	if err != nil {
		x.m.refuse(r.line, "the file %s can't be read: %v", hint.Quote(conv.arg(0)), err)
		return
	}
	type entry struct{ key, name string }
	var entries []entry
	for _, line := range lines {
		k, v, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		if v = strings.TrimSpace(v); v != "" {
			entries = append(entries, entry{k, before + v + after})
		}
	}
	if method == "beg" { // HAProxy finds the longest
		slices.SortStableFunc(entries, func(a, b entry) int { return len(b.key) - len(a.key) })
	}
	for _, e := range entries {
		if x.m.backends[e.name] != nil { // otherwise HAProxy uses the default backend
			x.toKey(p, match, r, s, key, method, e.key, e.name)
		}
	}
	if d := conv.arg(1); d != "" {
		if be := x.m.backends[before+d+after]; be != nil {
			x.pool(match, be, s)
		}
	}
	x.m.differ(r.line, "", "the map is read now: when the file changes, import it again, or reload")
}

// toKey makes the routes of one entry.
func (x *expander) toKey(p *proxy, match config.Match, r *rule, s state, key *sample, method, value, backend string) {
	t := &test{sample: *key, method: method, patterns: []string{value}, line: r.line}
	ms, err := x.test(p, t)
	if err != "" {
		x.m.refuse(r.line, "%s", err)
		return
	}
	for _, m := range ms {
		if both, possible := merge(match, m); possible {
			x.pool(both, x.m.backends[backend], s.clone())
		}
	}
}
