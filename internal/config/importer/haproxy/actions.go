package haproxy

import (
	"regexp"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// readField reads set-header, add-header or del-header.
func (m *imp) readField(r *rule, words []string) bool {
	r.op = strings.TrimSuffix(words[0], "-header")
	if r.action == 0 {
		r.action = setField
	}
	want := 3
	if r.op == "del" {
		want = 2
	}
	if len(words) < want {
		m.fail(r.line, "%s wants the name of a field, and a value", words[0])
		return false
	}
	r.name = strings.TrimSuffix(words[1], ":")
	switch {
	case r.op == "del" && len(words) == 4 && words[2] == "-m":
		if words[3] != "str" {
			m.refuse(r.line, "fields are removed by their whole name")
			return false
		}
	case len(words) != want:
		m.fail(r.line, "there is something after the value: put it in quotes if it has spaces in it")
		return false
	case r.op != "del":
		r.value = words[2]
	}
	return m.editable(r)
}

// editable reports whether the field of a rule can be changed, and notes why it can't.
func (m *imp) editable(r *rule) bool {
	name := strings.ToLower(r.name)
	what := headeredit.Request
	if r.action == answerField {
		what = headeredit.Answer
	}
	err := what.CheckName(r.name, headeredit.Sent{})
	switch {
	case err == nil:
		return true
	case name == "host" && r.action == setField && r.op == "set":
		return true
	case name == "x-request-id" && r.action == setField:
		return true
	case name == "connection" || name == "upgrade" || name == "keep-alive" || name == "proxy-connection" || name == "transfer-encoding" || name == "te" || name == "trailer" || name == "content-length":
		m.skip(r.line, "holdfast handles the fields of a connection by itself")
	case name == "via":
		m.skip(r.line, "http.via is off in what is imported")
	default:
		m.refuse(r.line, "the field %s can't be changed: %v", hint.Quote(r.name), err)
	}
	return false
}

// readPath reads rules that change the path.
func (m *imp) readPath(r *rule, words []string) bool {
	r.action = setPath
	if words[0] == "set-path" {
		if len(words) != 2 {
			m.fail(r.line, "set-path wants a path")
			return false
		}
		r.value = words[1]
		return m.readSubstitution(r)
	}
	if len(words) != 3 {
		m.fail(r.line, "%s wants a regular expression and a path", words[0])
		return false
	}
	r.regex, r.value = words[1], groupsOf(words[2])
	if words[0] != "replace-path" && !strings.HasSuffix(strings.TrimSuffix(r.regex, "$"), "(.*)") {
		m.differ(r.line, "", "only the path is replaced, and the query stays as it is")
	}
	return true
}

var backReference = regexp.MustCompile(`\\([1-9])`)

// groupsOf writes \1 as ${1}.
func groupsOf(s string) string {
	return backReference.ReplaceAllString(s, "$${$1}")
}

// readSubstitution reads the path of set-path if it is one in which a part is replaced:
// %[path,regsub(^/api/,/)].
func (m *imp) readSubstitution(r *rule) bool {
	parts, err := parseFormat(r.value)
	if err != nil {
		m.refuse(r.line, "%v", err)
		return false
	}
	for i, part := range parts {
		if part.expr == nil || part.expr.name != "path" || len(part.expr.conv) != 1 || part.expr.conv[0].name != "regsub" {
			continue
		}
		sub := part.expr.conv[0]
		re, err := regexp.Compile(sub.arg(0))
		switch {
		case err != nil:
			m.refuse(r.line, "%v", err)
			return false
		case len(parts) > i+1 || i > 1, strings.Contains(sub.arg(2), "g") && !strings.HasPrefix(sub.arg(0), "^"):
			m.refuse(r.line, "the path is one expression, in which one part is replaced")
			return false
		}
		shift := 0
		before, fold := "", ""
		if strings.Contains(sub.arg(2), "i") {
			fold = "(?i)"
		}
		if anchored, ok := strings.CutPrefix(sub.arg(0), "^"); ok && !strings.Contains(anchored, "|") {
			r.regex = fold + "^" + anchored + "(.*)$"
		} else {
			r.regex, before, shift = fold+"^(.*?)(?:"+sub.arg(0)+")(.*)$", "${1}", 1
		}
		to := backReference.ReplaceAllStringFunc(sub.arg(1), func(s string) string {
			return "${" + string(s[1]+byte(shift)) + "}"
		})
		prefix := ""
		if i == 1 {
			prefix = parts[0].text
		}
		r.value = prefix + before + to + "${" + string(rune('1'+shift+re.NumSubexp())) + "}"
		return true
	}
	return true
}

// readVar keeps the expression of a variable that is always set.
func (m *imp) readVar(p *proxy, l *syntax.Line, words []string, c *cond) {
	call, rest, err := parseCall(words[0])
	if err != nil || rest != "" || len(call.args) == 0 || len(words) < 2 {
		m.fail(l, "set-var wants the name of a variable in parentheses, and an expression")
		return
	}
	name := strings.ToLower(call.args[0])
	e, err := parseSample(words[1])
	if call.name == "set-var" && err != nil {
		m.fail(l, "%v", err)
		return
	}
	if _, twice := p.vars[name]; c != nil || twice || call.name == "set-var-fmt" {
		e = sample{call: call0("var")} // what it is depends on the request
	}
	p.vars[name] = e
	m.skip(l, "%s", requestActions["set-var"])
}

func call0(name string) call { return call{name: name} }

func (m *imp) readHTTPResponse(p *proxy, l *syntax.Line) {
	if p.tcp() {
		m.differ(l, "", "HAProxy ignores it in mode tcp, and so does holdfast")
		return
	}
	words, c, ok := m.split(p, l, 1)
	if !ok {
		return
	}
	if len(words) == 0 {
		m.fail(l, "http-response wants an action")
		return
	}
	r := &rule{line: l, cond: c, action: answerField}
	switch word := without(words[0]); word {
	case "set-header", "add-header", "del-header":
		if m.readField(r, words) {
			p.responses = append(p.responses, r)
		}
	case "allow":
		m.differ(l, "", "the rules behind it hold for all answers")
	case "deny", "return", "redirect":
		m.refuse(l, "what backends answer is passed on")
	case "replace-header", "replace-value":
		m.refuse(l, "parts of fields aren't replaced: set the whole field with http-response set-header")
	case "track-sc":
		m.skip(l, "nothing looks at this counter")
	default:
		m.noEffect(l, words[0])
	}
}

func (m *imp) readTCPRequest(p *proxy, l *syntax.Line) {
	words, c, ok := m.split(p, l, 1)
	if !ok {
		return
	}
	if len(words) < 2 {
		m.fail(l, "tcp-request wants connection, session, content or inspect-delay")
		return
	}
	r := &rule{line: l, cond: c, group: "tcp-request " + words[0], status: 403}
	if words[0] == "inspect-delay" {
		m.skip(l, "timeouts.handshake bounds how long a client may take to say what it wants")
		return
	}
	switch word := without(words[1]); {
	case word == "accept":
		if c == nil {
			m.skip(l, "it is the default")
			return
		}
		r.action = allow
	case word == "reject" || word == "silent-drop":
		r.action = respond
		if q, rest := m.quotaOf(p, r); q != nil {
			r.action, r.limit, r.cond = limit, q, rest
		} else if !p.tcp() {
			m.differ(l, "", "clients are answered with 403")
		}
	case word == "expect-proxy" && len(words) > 2 && words[2] == "layer4":
		r.action = guardTCP
		r.name = "expect-proxy"
	case word == "track-sc": // read before
		return
	case word == "set-var":
		m.readVar(p, l, words[1:], c)
		return
	case word == "use-service" || strings.HasPrefix(word, "lua."):
		m.refuse(l, noLua)
		return
	default:
		m.noEffect(l, words[1])
		return
	}
	p.connections = append(p.connections, r)
}

// readOld reads keywords that HAProxy had until version 2.0.
func (m *imp) readOld(p *proxy, l *syntax.Line) {
	words, c, ok := m.split(p, l, 1)
	if !ok {
		return
	}
	if len(words) == 0 {
		m.fail(l, "%s wants an argument", l.Arg(0))
		return
	}
	r := &rule{line: l, cond: c, group: "http-request", action: setField}
	if strings.HasPrefix(l.Arg(0), "rsp") {
		r.action = answerField
	}
	switch word := l.Arg(0); word {
	case "reqadd", "rspadd":
		name, value, ok := strings.Cut(words[0], ":")
		if !ok {
			m.fail(l, "%s wants a field such as X-Name:\\ value", word)
			return
		}
		r.op, r.name, r.value = "add", strings.TrimSpace(name), strings.ReplaceAll(strings.TrimSpace(value), "%", "%%")
	case "reqdel", "reqidel", "rspdel", "rspidel":
		found := oldField.FindStringSubmatch(words[0])
		if found == nil {
			m.refuse(l, "fields are removed by their whole name: write http-request del-header")
			return
		}
		r.op, r.name = "del", found[1]
	case "reqrep", "reqirep":
		m.readRequestLine(p, r, words)
		return
	}
	if !m.editable(r) {
		return
	}
	if r.action == answerField {
		p.responses = append(p.responses, r)
	} else {
		p.requests = append(p.requests, r)
	}
}

var (
	oldField = regexp.MustCompile(`^\^?([A-Za-z0-9-]+):?(\.\*)?$`)
	// oldRequest is how the first line of a request was rewritten: the method, a space,
	// and the path.
	oldRequest = regexp.MustCompile(`^\^\(\[\^ :?\]\*\) (/[^ ]*)$`)
)

// readRequestLine reads reqrep ^([^\ ]*)\ /a/(.*) \1\ /\2.
func (m *imp) readRequestLine(p *proxy, r *rule, words []string) {
	var found []string
	to, ok := "", false
	if len(words) == 2 {
		found = oldRequest.FindStringSubmatch(words[0])
		to, ok = strings.CutPrefix(words[1], `\1 `)
	}
	if found == nil || !ok {
		m.refuse(r.line, "write http-request replace-path, or set-header")
		return
	}
	shift := strings.NewReplacer(`\2`, `\1`, `\3`, `\2`, `\4`, `\3`, `\5`, `\4`)
	r.action, r.regex, r.value = setPath, "^"+found[1]+"$", groupsOf(shift.Replace(to))
	if r.line.Arg(0) == "reqirep" {
		r.regex = "(?i)" + r.regex
	}
	if _, err := pattern.ParseRegex(r.regex); err != nil {
		m.refuse(r.line, "%v", err)
		return
	}
	p.requests = append(p.requests, r)
}
