package haproxy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// action is what a rule does.
type action uint8

const (
	toPool   action = iota // use_backend; ends
	redirect               // ends
	respond                // ends
	allow                  // ends the rules of its group
	setField               // a header field of the request
	setPath
	setTimeout
	limit
	answerField // a header field of the answer
	guardTCP    // tcp-request connection reject: of the listener, where that is possible
)

// rule is one of a proxy's rules, in the terms of its file. Formats are only translated
// where they are used, since they may depend on the listener.
type rule struct {
	action action
	line   *syntax.Line
	cond   *cond
	group  string // rules that an allow ends

	pool     string   // of toPool, may be a format
	redirect redir    // of redirect
	status   int      // of respond
	body     string   // of respond
	mime     string   // of respond
	op, name string   // of setField and answerField: set, add or del; of setTimeout
	value    string   // a format; of setTimeout a time
	regex    string   // of setPath, "" is any path
	limit    *quota   // of limit
	only     []string // of guardTCP: parts of the condition
}

// redir is a redirect as HAProxy has it.
type redir struct {
	kind, to    string // location, prefix or scheme
	code        int
	drop, slash bool
}

// readRules reads the rules of a proxy, its ACLs first.
func (m *imp) readRules(p *proxy) {
	for _, l := range p.rules {
		if l.Arg(0) == "acl" {
			m.readACL(p, l)
		}
	}
	for _, l := range p.rules {
		for i, word := range l.Args(0) {
			if i > 0 && i < 3 && without(word) == "track-sc" {
				words, _ := splitCond(l.Args(i))
				m.readTrack(p, l, words)
			}
		}
	}
	for _, l := range p.rules {
		switch word := l.Arg(0); word {
		case "acl":
		case "use_backend":
			m.readUse(p, l)
		case "http-request":
			m.readHTTPRequest(p, l)
		case "http-response", "http-after-response":
			m.readHTTPResponse(p, l)
		case "tcp-request":
			m.readTCPRequest(p, l)
		case "tcp-response":
			if l.Arg(1) == "inspect-delay" || l.Arg(2) == "accept" {
				m.skip(l, "holdfast waits for nothing in answers")
			} else {
				m.refuse(l, "what backends answer isn't searched")
			}
		case "redirect":
			if words, c, ok := m.split(p, l, 1); ok {
				m.readRedirect(&p.redirects, l, words, c, "redirect")
			}
		case "block":
			if _, c, ok := m.split(p, l, 1); ok {
				p.requests = append(p.requests, &rule{action: respond, line: l, cond: c, status: 403})
			}
		default:
			m.readOld(p, l)
		}
	}
	// They are evaluated in this order, whatever that of the file is.
	stage := map[string]int{"tcp-request connection": 1, "tcp-request session": 2, "tcp-request content": 3}
	slices.SortStableFunc(p.connections, func(a, b *rule) int { return stage[a.group] - stage[b.group] })
}

// split reads the condition at the end of a line.
func (m *imp) split(p *proxy, l *syntax.Line, from int) (words []string, c *cond, ok bool) {
	words, rest := splitCond(l.Args(from))
	c, ok = m.parseCond(p, l, rest)
	return words, c, ok
}

func (m *imp) readUse(p *proxy, l *syntax.Line) {
	if !p.front {
		return
	}
	words, c, ok := m.split(p, l, 1)
	switch {
	case !ok:
	case len(words) != 1:
		m.fail(l, "use_backend wants the name of a backend, and a condition")
	default:
		p.uses = append(p.uses, &rule{action: toPool, line: l, cond: c, pool: words[0], group: "use"})
	}
}

// without takes "(args)" and digits off the name of an action.
func without(word string) string {
	name, _, _ := strings.Cut(word, "(")
	if strings.HasPrefix(name, "track-sc") {
		name = "track-sc"
	}
	return name
}

const noLua = "programs aren't run: see auth.request, which asks an HTTP endpoint about clients"

// requestActions are those of http-request that have no effect here, with why; a text that
// begins with "!" is refused, one with "~" is different.
var requestActions = map[string]string{
	"capture": ownLog, "set-log-level": ownLog, "set-nice": noTuning, "set-tos": noTuning, "set-mark": noTuning, "set-fc-mark": noTuning, "set-fc-tos": noTuning, "set-bc-mark": noTuning, "set-bc-tos": noTuning,
	"set-priority-class": noTuning, "set-priority-offset": noTuning, "disable-l7-retry": ownRetries, "strict-mode": noTuning, "unset-var": "variables are replaced where they are used",
	"set-var": "variables are replaced where they are used", "set-var-fmt": "variables are replaced where they are used", "sc-inc-gpc": "nothing looks at this counter", "sc-inc-gpc0": "nothing looks at this counter", "sc-inc-gpc1": "nothing looks at this counter", "sc-add-gpc": "nothing looks at this counter",
	"sc-set-gpt": "nothing looks at this counter", "sc-set-gpt0": "nothing looks at this counter", "wait-for-handshake": alwaysSo, "do-log": ownLog, "pause": "clients aren't kept waiting",
	"early-hint": "~early hints aren't sent", "wait-for-body": "~bodies are passed on as they come", "normalize-uri": "~paths that can be read in several ways get 400 instead", "cache-use": "~answers aren't cached",
	"cache-store": "~answers aren't cached", "set-map": "!maps don't change at run time", "del-map": "!maps don't change at run time", "add-acl": "!lists don't change at run time", "del-acl": "!lists don't change at run time",
	"auth": "!holdfast knows no passwords: verify tokens (auth.jwt), or ask an HTTP endpoint (auth.request)", "use-service": "!" + noLua, "lua.": "!" + noLua, "send-spoe-group": "!" + noLua, "ot-group": ownLog, "do-resolve": "!names are looked up for backends only",
	"set-method": "!the method isn't changed", "set-dst": "!holdfast connects to backends only", "set-dst-port": "!holdfast connects to backends only", "set-src": "!say whose X-Forwarded-For to believe by forwarded.trust", "set-src-port": noTuning,
	"set-uri": "!the path can be set, by http-request set-path", "set-query": "!the query isn't changed", "set-pathq": "!the query isn't changed: http-request set-path changes the path",
	"replace-header": "!parts of fields aren't replaced: set the whole field with http-request set-header", "replace-value": "!parts of fields aren't replaced: set the whole field with http-request set-header",
	"set-status": "!the status of an answer isn't changed", "del-headers-bin": "!give names of fields",
}

var ownActions = []string{"set-header", "add-header", "del-header", "redirect", "deny", "tarpit", "reject", "silent-drop", "return", "allow", "set-path", "replace-path", "replace-uri", "replace-pathq", "set-timeout", "track-sc"}

func (m *imp) readHTTPRequest(p *proxy, l *syntax.Line) {
	if p.tcp() {
		m.differ(l, "", "HAProxy ignores it in mode tcp, and so does holdfast")
		return
	}
	words, c, ok := m.split(p, l, 1)
	if !ok {
		return
	}
	if len(words) == 0 {
		m.fail(l, "http-request wants an action")
		return
	}
	r := &rule{line: l, cond: c, group: "http-request"}
	switch word := without(words[0]); word {
	case "allow":
		r.action = allow
	case "deny", "tarpit", "reject", "silent-drop":
		m.readDeny(p, r, words)
		return
	case "return":
		m.readReturn(r, words[1:])
		if r.action != respond {
			return
		}
	case "redirect":
		m.readRedirect(&p.requests, l, words[1:], c, "http-request")
		return
	case "set-header", "add-header", "del-header":
		if !m.readField(r, words) {
			return
		}
	case "set-path", "replace-path", "replace-uri", "replace-pathq":
		if !m.readPath(r, words) {
			return
		}
	case "set-timeout":
		if len(words) != 3 || words[1] != "server" && words[1] != "tunnel" && words[1] != "client" {
			m.fail(l, "set-timeout wants server or tunnel, and a time")
			return
		}
		r.action, r.name, r.value = setTimeout, words[1], words[2]
	case "track-sc": // read before
		return
	case "set-var", "set-var-fmt":
		m.readVar(p, l, words, c)
		return
	default:
		m.noEffect(l, words[0])
		return
	}
	p.requests = append(p.requests, r)
}

// noEffect notes an action that has none here.
func (m *imp) noEffect(l *syntax.Line, action string) {
	word := without(action)
	if strings.HasPrefix(word, "lua.") {
		word = "lua."
	}
	if word == "use-service" && slices.Contains(l.Args(0), "prometheus-exporter") {
		m.differ(l, "", "metrics are at the admin address: admin.address, /metrics")
		return
	}
	switch why, known := requestActions[word]; {
	case !known:
		var names []string
		for name := range requestActions {
			names = append(names, name)
		}
		slices.Sort(names)
		m.fail(l, "unknown action %s%s", hint.Quote(action), hint.DidYouMean(word, append(names, ownActions...)))
	case strings.HasPrefix(why, "!"):
		m.refuse(l, "%s", why[1:])
	case strings.HasPrefix(why, "~"):
		m.differ(l, "", "%s", why[1:])
	default:
		m.skip(l, "%s", why)
	}
}

// readDeny reads a rule that sends clients away, which may be a limit.
func (m *imp) readDeny(p *proxy, r *rule, words []string) {
	r.action, r.status = respond, 403
	switch words[0] {
	case "tarpit":
		r.status = 500
		m.differ(r.line, "", "clients are answered at once, and not kept waiting")
	case "reject", "silent-drop":
		m.differ(r.line, "", "clients are answered with 403")
	}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "deny_status", "status":
			r.status, _ = strconv.Atoi(r.next(words, &i))
			if r.status < 200 || r.status > 599 {
				m.fail(r.line, "%s isn't a status such as 403", hint.Quote(words[min(i, len(words)-1)]))
				return
			}
		case "content-type":
			r.mime = r.next(words, &i)
		case "string", "lf-string":
			r.body = r.next(words, &i)
		case "errorfile", "errorfiles", "file", "lf-file", "hdr":
			m.differ(r.line, "", "%s", ownErrors)
			if words[i] == "hdr" {
				i++
			}
			i++
		case "default-errorfiles":
		default:
			m.fail(r.line, "unknown word %s", hint.Quote(words[i]))
			return
		}
	}
	if q, rest := m.quotaOf(p, r); q != nil {
		r.action, r.limit, r.cond = limit, q, rest
	}
	p.requests = append(p.requests, r)
}

// next is the word after the i-th.
func (*rule) next(words []string, i *int) string {
	if *i++; *i < len(words) {
		return words[*i]
	}
	return ""
}

func (m *imp) readReturn(r *rule, words []string) {
	r.status = 200
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "status":
			r.status, _ = strconv.Atoi(r.next(words, &i))
		case "content-type":
			r.mime = r.next(words, &i)
		case "string":
			r.body = r.next(words, &i)
		case "lf-string":
			if r.body = r.next(words, &i); strings.Contains(r.body, "%") {
				m.refuse(r.line, "an answer has no variables: write it as string")
				return
			}
		case "file", "lf-file":
			name := r.next(words, &i)
			data, err := readFile(m.path(name))
			if err != nil {
				m.refuse(r.line, "the file %s can't be read: %s", hint.Quote(name), reason(err))
				return
			}
			if words[i-1] == "lf-file" {
				m.differ(r.line, "", "variables in the file stay as they are")
			}
			r.body = string(data)
		case "errorfile", "errorfiles", "default-errorfiles":
			m.differ(r.line, "", "%s", ownErrors)
			if words[i] != "default-errorfiles" {
				i++
			}
		case "hdr":
			m.differ(r.line, "", "the field %s isn't sent", hint.Quote(r.next(words, &i)))
			i++
		default:
			m.fail(r.line, "unknown word %s", hint.Quote(words[i]))
			return
		}
	}
	if r.status < 200 || r.status > 599 {
		m.fail(r.line, "return wants a status such as 200")
		return
	}
	if strings.Contains(r.body, "\x00") || len(r.body) > 16<<10 {
		m.refuse(r.line, "an answer is a text of at most 16 KiB: have a backend send it")
		return
	}
	r.action = respond
}

func (m *imp) readRedirect(to *[]*rule, l *syntax.Line, words []string, c *cond, group string) {
	r := &rule{action: redirect, line: l, cond: c, group: group, redirect: redir{code: 302}}
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "location", "prefix", "scheme":
			r.redirect.kind = words[i]
			r.redirect.to = r.next(words, &i)
		case "code":
			r.redirect.code, _ = strconv.Atoi(r.next(words, &i))
			if !slices.Contains([]int{301, 302, 303, 307, 308}, r.redirect.code) {
				m.fail(l, "the code of a redirect is 301, 302, 303, 307 or 308")
				return
			}
		case "drop-query":
			r.redirect.drop = true
		case "append-slash":
			r.redirect.slash = true
		case "ignore-empty", "keep-query":
		case "set-cookie", "clear-cookie", "set-cookie-fmt":
			m.differ(l, "", "the cookie isn't set")
			i++
		default:
			m.fail(l, "unknown word %s%s", hint.Quote(words[i]), hint.DidYouMean(words[i], []string{"location", "prefix", "scheme", "code", "drop-query", "append-slash"}))
			return
		}
	}
	if r.redirect.to == "" {
		m.fail(l, "redirect wants location, prefix or scheme")
		return
	}
	*to = append(*to, r)
}
