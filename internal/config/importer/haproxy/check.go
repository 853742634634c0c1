package haproxy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// checks sets the health checks of a pool.
func (m *imp) checks(be *proxy, pool *config.Pool, list []*server, path config.Path) {
	h, at := &pool.Health, path.Key("health")
	checked, agents := 0, 0
	var first *server
	for _, s := range list {
		if s.has("disabled") {
			continue
		}
		if s.has("agent-check") {
			agents++
		}
		if s.has("check") {
			checked++
			if first == nil {
				first = s
			}
		}
	}
	m.agent(pool, list, agents, at)
	if checked == 0 {
		for _, l := range be.settings.checks {
			m.skip(l, "no server has check")
		}
		if agents == 0 {
			m.say("servers without check", "holdfast leaves one alone for a while after handshakes with it have failed: health: {max_fails: 0} turns that off")
		}
	} else if !m.httpCheck(be, h, at) {
		h.TCP = true
		m.carry(first.line, "")
	}
	if checked > 0 && checked < len(list) {
		for _, s := range list {
			if !s.has("check") && !s.has("disabled") {
				m.differ(s.line, "", "it is checked, as the others of its pool are")
			}
		}
	}
	if first == nil {
		if agents == 0 {
			return
		}
		for _, s := range list {
			if s.has("agent-check") {
				first = s
				break
			}
		}
	}
	m.checkTimes(be, h, list, first, at, checked == 0)
	for _, s := range list {
		if d := m.duration(s, "slowstart"); d > 0 {
			h.SlowStart = min(max(h.SlowStart, d), time.Hour)
		}
		switch word := s.words["on-marked-down"]; word {
		case "":
		case "shutdown-sessions":
			h.OnDown = "close"
		default:
			m.fail(s.line, "on-marked-down wants shutdown-sessions")
		}
	}
}

// checkTimes sets how often checks are made. HAProxy has these for each server.
func (m *imp) checkTimes(be *proxy, h *config.Health, list []*server, first *server, at config.Path, agent bool) {
	word := "inter"
	if agent {
		word = "agent-inter"
	}
	differs := map[string]bool{}
	for _, s := range list {
		for _, word := range []string{"inter", "fall", "rise"} {
			if s.has("check") && s.words[word] != first.words[word] && !differs[word] {
				differs[word] = true
				m.differ(s.line, "", "%s is that of the first server", word)
			}
		}
	}
	h.Interval = 2 * time.Second
	if d := m.duration(first, word); d > 0 {
		h.Interval = max(d, 10*time.Millisecond)
	}
	h.Fall, h.Rise = 3, 2
	if n := m.number(first, "fall"); n > 0 {
		h.Fall = min(n, 100)
	}
	if n := m.number(first, "rise"); n > 0 {
		h.Rise = min(n, 100)
	}
	d, l := be.timeout("check")
	if l != nil {
		m.carry(l, at.Key("timeout"))
	}
	if l == nil || d >= h.Interval {
		d = tidy(h.Interval * 9 / 10)
		m.say("checks", "without timeout check, one may take nine tenths of its interval")
	}
	h.Timeout = max(d, time.Millisecond)
	m.locate(at, first.line)
}

func (m *imp) agent(pool *config.Pool, list []*server, agents int, at config.Path) {
	if agents == 0 {
		return
	}
	port, from := m.common(list, "agent-port", "agent-port", false)
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		for _, s := range list {
			if s.has("agent-check") {
				m.fail(s.line, "agent-check wants agent-port")
				return
			}
		}
		return
	}
	send, _ := m.common(list, "agent-send", "agent-send", false)
	pool.Health.Agent = &config.AgentCheck{Port: n, Send: send}
	m.locate(at.Key("agent"), from.line)
	if agents < len(list) {
		m.differ(from.line, "", "all backends of the pool have an agent")
	}
}

// httpCheck sets a check by HTTP, and reports whether there is one.
func (m *imp) httpCheck(be *proxy, h *config.Health, at config.Path) bool {
	for _, name := range []string{"smtpchk", "mysql-check", "pgsql-check", "redis-check", "ldap-check", "spop-check", "external-check"} {
		if l := be.option(name); l != nil {
			m.differ(l, at.Key("tcp"), "%s", options[name].text)
		}
	}
	if l := be.option("ssl-hello-chk"); l != nil {
		m.differ(l, at.Key("tcp"), "it is checked that a connection can be opened; with tls, that its TLS handshake succeeds")
	}
	if l := be.option("tcp-check"); l != nil {
		m.carry(l, at.Key("tcp"))
		for _, c := range be.settings.checks {
			switch {
			case c.Arg(0) != "tcp-check":
			case c.Arg(1) == "connect" || c.Arg(1) == "comment":
				m.carry(c, at.Key("tcp"))
			default:
				m.differ(c, at.Key("tcp"), "the check is that a connection can be opened; nothing is sent, and no answer awaited")
			}
		}
	}
	l := be.option("httpchk")
	if l == nil {
		for _, c := range be.settings.checks {
			if c.Arg(0) == "http-check" {
				m.skip(c, "there is no option httpchk")
			}
		}
		return false
	}
	c := &config.HTTPCheck{Method: "OPTIONS", Path: "/", Expect: []config.StatusRange{{From: 200, To: 399}}}
	switch args := l.Args(2); len(args) {
	case 0:
	case 1:
		c.Path = args[0]
	default:
		c.Method, c.Path = args[0], args[1]
		m.versionHeaders(c, strings.Join(args[2:], " "))
	}
	expects := 0
	for _, l := range be.settings.checks {
		if l.Arg(0) == "http-check" {
			m.readCheck(l, h, c, &expects, at.Key("http"))
		}
	}
	if c.Method = strings.ToUpper(c.Method); c.Method == "HEAD" && c.Body != "" {
		c.Method = "GET"
	}
	if !strings.HasPrefix(c.Path, "/") {
		m.refuse(l, "the path of a check begins with a slash")
		return false
	}
	h.HTTP = c
	m.locate(at.Key("http"), l)
	m.carry(l, at.Key("http"))
	return true
}

// versionHeaders reads "HTTP/1.1\r\nHost: x", in which fields are hidden.
func (m *imp) versionHeaders(c *config.HTTPCheck, version string) {
	_, rest, _ := strings.Cut(version, "\n")
	for line := range strings.SplitSeq(rest, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			checkHeader(c, name, strings.TrimSpace(value))
		}
	}
}

func checkHeader(c *config.HTTPCheck, name, value string) {
	switch {
	case strings.EqualFold(name, "host"):
		c.Host = value
	case strings.EqualFold(name, "connection") || strings.EqualFold(name, "content-length"):
	default:
		c.Headers = append(c.Headers, [2]string{name, value})
	}
}

func (m *imp) readCheck(l *syntax.Line, h *config.Health, c *config.HTTPCheck, expects *int, at config.Path) {
	args := l.Args(2)
	switch l.Arg(1) {
	case "send":
		for i := 0; i+1 < len(args); i++ {
			switch args[i] {
			case "meth":
				c.Method = args[i+1]
			case "uri":
				c.Path = args[i+1]
			case "hdr":
				if i+2 < len(args) {
					checkHeader(c, args[i+1], args[i+2])
				}
				i++
			case "body", "body-lf", "uri-lf":
				m.differ(l, at, "a check has no body, and a fixed path")
			}
			i++
		}
		m.carry(l, at)
	case "expect":
		if *expects++; *expects > 1 {
			m.differ(l, at, "the first expect counts")
			return
		}
		m.readExpect(l, c, args, at)
	case "connect":
		for i, word := range args {
			if n, err := strconv.Atoi(l.Arg(i + 3)); word == "port" && err == nil && n > 0 && n < 1<<16 {
				h.Port = n
			} else if word == "ssl" {
				m.differ(l, at, "checks use TLS where sessions do")
			}
		}
		m.carry(l, at)
	case "disable-on-404":
		m.differ(l, at, "a backend that answers 503 is drained, and 404 is a failure")
	case "send-state":
		m.skip(l, "backends aren't told their state")
	case "comment", "set-var", "set-var-fmt", "unset-var":
		m.skip(l, "it says nothing to the backend")
	default:
		m.fail(l, "unknown word %s%s", hint.Quote(l.Arg(1)), hint.DidYouMean(l.Arg(1), []string{"send", "expect", "connect", "disable-on-404", "send-state", "comment", "set-var"}))
	}
}

// readExpect reads what is expected of an answer.
func (m *imp) readExpect(l *syntax.Line, c *config.HTTPCheck, args []string, at config.Path) {
	not := false
	for len(args) > 0 {
		switch word := args[0]; {
		case word == "!":
			not = true
		case word == "min-recv" || word == "ok-status" || word == "error-status" || word == "tout-status" || word == "on-success" || word == "on-error" || word == "status-code" || word == "comment":
			args = args[1:]
		case len(args) < 2:
			m.fail(l, "%s wants an argument", hint.Quote(word))
			return
		default:
			m.expect(l, c, word, args[1], not, at)
			return
		}
		args = args[min(1, len(args)):]
	}
	m.fail(l, "expect wants status, rstatus, string or rstring")
}

func (m *imp) expect(l *syntax.Line, c *config.HTTPCheck, what, value string, not bool, at config.Path) {
	var want func(status int) bool
	switch what {
	case "status":
		var ranges [][2]int
		for item := range strings.SplitSeq(value, ",") {
			low, high, ok := strings.Cut(item, "-")
			from, err := strconv.Atoi(low)
			to := from
			if ok {
				to, _ = strconv.Atoi(high)
			}
			if err != nil || to < from {
				m.fail(l, "%s isn't a status", hint.Quote(item))
				return
			}
			ranges = append(ranges, [2]int{from, to})
		}
		want = func(status int) bool {
			for _, r := range ranges {
				if r[0] <= status && status <= r[1] {
					return true
				}
			}
			return false
		}
	case "rstatus":
		re, err := regexp.Compile(value)
		if err != nil {
			m.refuse(l, "%v", err)
			return
		}
		want = func(status int) bool { return re.MatchString(strconv.Itoa(status)) }
	case "string":
		c.Expect = statuses(func(int) bool { return true })
		if c.Body = value; not {
			c.Body = ""
			m.differ(l, at, "a check can't fail for what an answer has in it")
			return
		}
		m.carry(l, at.Key("body"))
		return
	default:
		m.differ(l, at, "answers are checked by their status, and by a text in them: expect %s isn't", hint.Quote(what))
		return
	}
	key := fmt.Sprint(what, " ", value, not)
	list, known := m.expects[key]
	if !known {
		list = statuses(func(status int) bool { return want(status) != not })
		m.expects[key] = list
	}
	if c.Expect = slices.Clone(list); len(c.Expect) == 0 {
		m.refuse(l, "no status is left that a check can expect: 503 always means that a backend is draining")
		c.Expect = []config.StatusRange{{From: 200, To: 200}}
		return
	}
	if want(503) != not {
		m.differ(l, at.Key("expect"), "503 always means that a backend is draining")
	}
	m.carry(l, at.Key("expect"))
}

// statuses lists those that are wanted as ranges, without 503.
func statuses(want func(status int) bool) (list []config.StatusRange) {
	for status := 200; status <= 599; status++ {
		if status == 503 || !want(status) {
			continue
		}
		if n := len(list); n > 0 && list[n-1].To == status-1 {
			list[n-1].To = status
			continue
		}
		list = append(list, config.StatusRange{From: status, To: status})
	}
	return list
}
