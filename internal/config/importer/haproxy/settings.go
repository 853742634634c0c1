package haproxy

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

func fields(s string) []string { return strings.Fields(s) }

// settings are what sections may inherit from defaults.
type settings struct {
	// one has the line of each keyword of which one counts: "balance", "option
	// httpchk", "timeout client".
	one     map[string]*syntax.Line
	checks  []*syntax.Line // http-check and tcp-check
	servers []*syntax.Line // default-server
	rules   []*syntax.Line
	stats   []*syntax.Line
}

func (s *settings) clone() settings {
	return settings{maps.Clone(s.one), slices.Clone(s.checks), slices.Clone(s.servers), slices.Clone(s.rules), slices.Clone(s.stats)}
}

// proxy is a frontend, a backend, or both.
type proxy struct {
	settings
	kind, name  string
	head        *syntax.Line
	front, back bool

	acls            acls
	binds           []*syntax.Line
	serverLines     []*syntax.Line
	sticks          []*syntax.Line
	inherits        int // of the stats and rules, how many are those of defaults
	listeners       []*listener
	uses            []*rule // use_backend
	requests        []*rule
	redirects       []*rule
	responses       []*rule
	connections     []*rule // tcp-request
	vars            map[string]sample
	tracks          map[string]bool // counters that follow src
	hasResponseVars bool
}

func (p *proxy) tcp() bool { l := p.one["mode"]; return l == nil || l.Arg(1) == "tcp" }

// option returns the line of an option that is on.
func (p *proxy) option(name string) *syntax.Line { return p.one["option "+name] }

// timeout returns a timeout and its line, nil if there is none.
func (p *proxy) timeout(names ...string) (time.Duration, *syntax.Line) {
	for _, name := range names {
		if l := p.one["timeout "+name]; l != nil {
			value := l.Arg(2)
			if l.Arg(0) != "timeout" {
				value = l.Arg(1)
			}
			if d, err := parseTime(value, time.Millisecond); err == nil {
				return min(d, maxTimeout), l
			}
		}
	}
	return 0, nil
}

// read sorts the lines of all sections.
func (m *imp) read(sections []*syntax.Section) {
	m.global = map[string]*syntax.Line{}
	current := &settings{one: map[string]*syntax.Line{}}
	for _, s := range sections {
		switch s.Kind {
		case "global":
			m.carry(s.Head, "")
			for _, l := range s.Lines {
				m.readGlobal(l)
			}
		case "defaults":
			current = m.readDefaults(s)
		case "frontend", "backend", "listen":
			m.readProxy(s, current)
		default:
			m.readOther(s)
		}
	}
}

func (m *imp) readGlobal(l *syntax.Line) {
	word := l.Arg(0)
	why, known := globalSkipped[word]
	switch {
	case slices.Contains(globalSingle, word) && !l.No:
		m.override(m.global, word, l)
	case known || l.No:
		m.skip(l, "%s", why)
	case strings.HasPrefix(word, "tune.") || strings.HasPrefix(word, "httpclient."):
		m.skip(l, noTuning)
	case strings.HasPrefix(word, "lua-"):
		m.differ(l, "", "programs in Lua aren't run")
	default:
		m.fail(l, "unknown keyword %s in global%s", hint.Quote(word), hint.DidYouMean(word, append(slices.Collect(maps.Keys(globalSkipped)), globalSingle...)))
	}
}

// override notes the line of a keyword of which one counts.
func (m *imp) override(one map[string]*syntax.Line, key string, l *syntax.Line) {
	if before := one[key]; before != nil && m.marks[before] == nil {
		m.skip(before, "line %d replaces it", l.Num)
	}
	one[key] = l
}

// from is the word after "from" of a section's first line.
func (m *imp) from(s *syntax.Section, current *settings) *settings {
	i := slices.Index(s.Head.Args(0), "from")
	if i < 1 {
		return current
	}
	if d, ok := m.defaults[s.Head.Arg(i+1)]; ok {
		return d
	}
	m.fail(s.Head, "there is no defaults section %s%s", hint.Quote(s.Head.Arg(i+1)), hint.DidYouMean(s.Head.Arg(i+1), slices.Sorted(maps.Keys(m.defaults))))
	return current
}

func (m *imp) readDefaults(s *syntax.Section) *settings {
	m.carry(s.Head, "")
	d := &settings{one: map[string]*syntax.Line{}}
	if slices.Contains(s.Head.Args(0), "from") {
		inherited := m.from(s, d).clone()
		d = &inherited
	}
	for _, l := range s.Lines {
		m.readLine(l, "d", d, nil)
	}
	if s.Name != "" && s.Name != "from" {
		m.defaults[s.Name] = d
	}
	return d
}

func (m *imp) readProxy(s *syntax.Section, current *settings) {
	p := &proxy{kind: s.Kind, name: s.Name, head: s.Head, front: s.Kind != "backend", back: s.Kind != "frontend", acls: acls{}, vars: map[string]sample{}, tracks: map[string]bool{}}
	if p.name == "" {
		m.fail(s.Head, "the section has no name")
		return
	}
	if p.settings = m.from(s, current).clone(); p.one == nil {
		p.one = map[string]*syntax.Line{}
	}
	p.inherits = len(p.rules)
	where := ""
	if p.front {
		where += "f"
		if before := m.frontends[p.name]; before != nil {
			m.fail(s.Head, "there is another frontend %s, in line %d", hint.Quote(p.name), before.head.Num)
		}
		m.frontends[p.name] = p
	}
	if p.back {
		where += "b"
		if before := m.backends[p.name]; before != nil {
			m.fail(s.Head, "there is another backend %s, in line %d", hint.Quote(p.name), before.head.Num)
		}
		m.backends[p.name] = p
	}
	if rest := s.Head.Args(2); len(rest) > 0 && rest[0] != "from" {
		if !p.front {
			m.fail(s.Head, "unexpected %s after the name", hint.Quote(rest[0]))
		} else { // before version 1.9, an address to listen on
			p.binds = append(p.binds, &syntax.Line{File: s.Head.File, Num: s.Head.Num, Col: s.Head.Col, Raw: s.Head.Raw, Words: s.Head.Words[1:]})
		}
	}
	m.order = append(m.order, p)
	for _, l := range s.Lines {
		m.readLine(l, where, &p.settings, p)
	}
}

// readLine sorts a line of a section. p is nil for defaults.
func (m *imp) readLine(l *syntax.Line, where string, s *settings, p *proxy) {
	word := l.Arg(0)
	sp, key, ok := m.lookup(l)
	if !ok {
		return
	}
	if !strings.ContainsAny(sp.in, where) {
		if m.differ(l, "", "HAProxy ignores it in this section, and so does holdfast"); word == "use_backend" {
			m.differ(l, "", "only a frontend leads to backends: move it there, with its acl lines")
		}
		return
	}
	switch {
	case l.No && sp.kind == single, l.Reset && sp.kind == single:
		if before := s.one[key]; before != nil && p == nil && m.marks[before] == nil {
			m.skip(before, "line %d replaces it", l.Num)
		}
		delete(s.one, key)
		m.carry(l, "")
	case sp.kind == skipped:
		m.skip(l, "%s", sp.text)
	case l.No:
		m.skip(l, "it is off by itself")
	case sp.kind == differs:
		m.readDiffering(l, sp)
	case sp.kind == refused:
		m.refuse(l, "%s", sp.text)
	case sp.kind == single:
		if word == "timeout" || strings.HasSuffix(word, "timeout") {
			value := l.Arg(len(l.Words) - 1)
			if _, err := parseTime(value, time.Millisecond); err != nil {
				m.fail(l, "%v", err)
				return
			}
		}
		m.override(s.one, key, l)
	default:
		m.keep(l, s, p)
	}
}

// lookup finds the keyword of a line, and the key that it has among those of which one
// counts.
func (m *imp) lookup(l *syntax.Line) (sp spec, key string, ok bool) {
	word, arg := l.Arg(0), l.Arg(1)
	sp, ok = proxyKeywords[word]
	switch {
	case !ok:
		m.fail(l, "unknown keyword %s%s", hint.Quote(word), hint.DidYouMean(word, slices.Sorted(maps.Keys(proxyKeywords))))
		return sp, "", false
	case word == "option":
		o, known := options[arg]
		if !known {
			m.fail(l, "unknown option %s%s", hint.Quote(arg), hint.DidYouMean(arg, slices.Sorted(maps.Keys(options))))
			return sp, "", false
		}
		return o, "option " + arg, true
	case word == "timeout":
		why, known := timeoutNames[arg]
		switch {
		case !known:
			m.fail(l, "unknown timeout %s%s", hint.Quote(arg), hint.DidYouMean(arg, slices.Sorted(maps.Keys(timeoutNames))))
			return sp, "", false
		case why != "":
			return spec{skipped, sp.in, why}, "", true
		}
		return sp, "timeout " + arg, true
	case strings.HasSuffix(word, "timeout"):
		return sp, map[string]string{"clitimeout": "timeout client", "srvtimeout": "timeout server", "contimeout": "timeout connect"}[word], true
	}
	return sp, word, true
}

func (m *imp) readDiffering(l *syntax.Line, sp spec) {
	if l.Arg(0) == "filter" {
		switch l.Arg(1) {
		case "compression", "cache", "trace", "bwlim-in", "bwlim-out", "opentracing":
			m.differ(l, "", "this filter isn't known here, and does nothing")
		default:
			m.refuse(l, "a filter may decide who gets in: see auth.request, which asks an HTTP endpoint")
		}
		return
	}
	m.differ(l, "", "%s", sp.text)
}

// keep keeps a line of which all count.
func (m *imp) keep(l *syntax.Line, s *settings, p *proxy) {
	switch word := l.Arg(0); word {
	case "http-check", "tcp-check":
		s.checks = append(s.checks, l)
	case "default-server":
		s.servers = append(s.servers, l)
	case "stats":
		s.stats = append(s.stats, l)
	case "bind":
		p.binds = append(p.binds, l)
	case "server", "server-template":
		p.serverLines = append(p.serverLines, l)
	case "stick":
		p.sticks = append(p.sticks, l)
	default:
		s.rules = append(s.rules, l)
	}
}
